"""Agreement with NIST's scorers, where they are installed: the same files, the same counts."""

import random
import re
import shutil

import pytest

from asr_parallel.corpus.glm import read_glm
from asr_parallel.corpus.nist_files import CtmWord, StmSegment, read_ctm, read_stm, write_ctm, write_stm, write_trn
from asr_parallel.decode import sclite
from asr_parallel.decode.edit_distance import align, total
from asr_parallel.decode.hub5 import complete_channels, scorable_words, score_segments
from asr_parallel.decode.sclite import find_tool, sclite_hub5, sclite_trn
from asr_parallel.decode.word_network import literal_transcript

needs_sclite = pytest.mark.skipif(find_tool("sclite") is None, reason="sclite is not installed (Debian: sctk)")
needs_hubscr = pytest.mark.skipif(find_tool("hubscr") is None, reason="hubscr.pl is not installed (Debian: sctk)")

RULES = """;; rules of every kind
* max_nrules = '3000'
[UH-HUH] => [%BCACK] / [ ] __ [ ] ;; back channel
[UH HUH] => [%BCACK] / [ ] __ [ ]
[UH] => [%HESITATION] / [ ] __ [ ]
[UM] => [%HESITATION] / [ ] __ [ ]
[GONNA] => [GOING TO] / [ ] __ [ ]
[ALL RIGHT] => [ALRIGHT] / [ ] __ [ ]
[OKAY] => [OK] / [ ] __ [ ]
[COLOUR] => [COLOR]
;; CONTRACTIONIZER
;; INPUT_DEPENDENT_APPLICATION = "ctm"
[WE'RE] => [{WE'RE / WE ARE}] / [ ] __ [ ]
[IT'S] => [{IT'S / IT IS / IT HAS}] / [ ] __ [ ]
"""
WORDS = re.findall(
    r"\S+",
    "uh um uh-huh huh gonna going to all right alright okay ok colourful colour we're we are it's it is has yes no "
    "th- -ing thing the well-known well known",
)


@needs_sclite
@pytest.mark.parametrize("vocabulary", ["ab", "abcdefgh"])
def test_plain_scores(tmp_path, vocabulary):
    rng = random.Random(1)
    ids = [f"spk{n % 7}-utt{n}" for n in range(400)]
    texts = [{i: " ".join(rng.choices(vocabulary, k=rng.randint(0, 12))) for i in ids} for _ in range(2)]
    texts[0] |= {"spk0-tie1": "a a b", "spk0-tie2": "b c c"}
    texts[1] |= {"spk0-tie1": "b c c", "spk0-tie2": "a a b"}
    speakers = {i: i.partition("-")[0] for i in texts[0]}
    folder = tmp_path / "a folder; with $signs"
    for name, side in zip(("ref.trn", "hyp.trn"), texts, strict=True):
        write_trn(folder / name, side, speakers)
    theirs = sclite_trn(folder / "ref.trn", folder / "hyp.trn")
    ours = {
        i: align(literal_transcript(texts[0][i].split()), literal_transcript(texts[1][i].split())) for i in texts[0]
    }
    assert theirs["Sum"] == total(ours.values())
    for speaker in set(speakers.values()):
        assert theirs[speaker] == total(c for i, c in ours.items() if speakers[i] == speaker)


def conversation(rng, decimals):
    """Random segments and recognised words of a few recordings; coarse times make words fall on segment ends."""
    segments, words = [], []
    for recording in ("en_4156", "sw_4390", "sw_4500"):
        for channel in "AB":
            time = 0.0
            for _ in range(40):
                end = round(time + rng.uniform(0.5, 5), decimals)
                text = rng.choices(WORDS, k=rng.randint(0, 12))
                reference = [decorated(word, rng) for word in text]
                if rng.random() < 0.07:
                    reference, text = ["IGNORE_TIME_SEGMENT_IN_SCORING"], ["yes"]
                segments.append(
                    StmSegment(recording, channel, f"{recording}_{channel}", time, end, " ".join(reference))
                )
                for n, word in enumerate(text):
                    if rng.random() < 0.9:
                        start = round(time + (end - time) * n / len(text) + rng.uniform(0, 0.2), decimals)
                        recognized = rng.choice(WORDS) if rng.random() < 0.3 else word
                        duration = max(round(rng.uniform(0, 0.5), decimals), 10**-decimals)
                        words.append(CtmWord(recording, channel, start, duration, recognized))
                time = round(end + rng.choice([0, rng.uniform(0, 1)]), decimals)
    return segments, words


def decorated(word, rng):
    """A word as references may have it: optional, or with an alternative."""
    chance = rng.random()
    if chance < 0.1:
        return f"({word})"
    if chance < 0.15:
        return f"({word} {rng.choice(WORDS)})"
    if chance < 0.2:
        inner = rng.choice([rng.choice(WORDS), f"{{ {rng.choice(WORDS)} / @ }}"])  # alternatives may hold alternatives
        return f"{{ {word} / {rng.choice(WORDS)} {inner} }}"
    return "(%HESITATION)" if chance < 0.25 else word


@needs_hubscr
@pytest.mark.parametrize(("seed", "decimals", "filtered"), [(1, 3, False), (2, 1, False), (3, 1, True), (4, 2, True)])
def test_hub5_scores(tmp_path, seed, decimals, filtered):
    segments, words = conversation(random.Random(seed), decimals)
    if filtered:  # as scoring does it; one channel has no words
        words = [w for w in scorable_words(words) if (w.recording, w.channel) != ("sw_4500", "B")]
    glm = tmp_path / "glm"
    glm.write_text(RULES)
    write_stm(tmp_path / "ref.stm", segments)
    write_ctm(tmp_path / "hyp.ctm", complete_channels(words, segments))
    theirs = sclite_hub5(tmp_path / "ref.stm", tmp_path / "hyp.ctm", glm)
    ours = score_segments(
        read_stm(tmp_path / "ref.stm"),
        read_ctm(tmp_path / "hyp.ctm"),
        read_glm(glm, ("stm", "ref")),
        read_glm(glm, ("ctm", "hyp")),
    )
    assert theirs["Sum"] == total(s.counts for s in ours)
    for speaker in {s.segment.speaker for s in ours}:
        assert theirs[speaker.lower()] == total(s.counts for s in ours if s.segment.speaker == speaker)


def test_absence_is_one_clear_line(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert find_tool("sclite") is None
    with pytest.raises(ValueError, match="sclite is not installed"):
        sclite_trn(tmp_path / "ref.trn", tmp_path / "hyp.trn")


def test_a_scorer_that_hangs_is_one_clear_line(tmp_path, monkeypatch):
    monkeypatch.setattr(sclite, "find_tool", lambda name: ["sh", "-c", "exec sleep 30"])
    monkeypatch.setattr(sclite, "TIMEOUT_SECONDS", 0.1)
    for name in ("ref.trn", "hyp.trn"):
        (tmp_path / name).write_text("a (s-1)\n")
    with pytest.raises(ValueError, match=r"sclite did not score ref.trn, hyp.trn within 0\.1 s"):
        sclite_trn(tmp_path / "ref.trn", tmp_path / "hyp.trn")


@needs_sclite
def test_what_sclite_refuses_is_one_clear_line(tmp_path):
    (tmp_path / "ref.trn").write_text("a b (s-1)\n")
    (tmp_path / "hyp.trn").write_text("a b (s-2)\n")
    with pytest.raises(ValueError, match=r"sclite did not score ref.trn, hyp.trn: .*[Ee]rror") as error:
        sclite_trn(tmp_path / "ref.trn", tmp_path / "hyp.trn")
    assert "\n" not in str(error.value)


@needs_hubscr
def test_a_filter_that_failed_is_noticed(tmp_path):
    (tmp_path / "ref.stm").write_text("sw_1 A spk 0 1 a b\n")
    (tmp_path / "hyp.ctm").write_text("sw_1 A 0 0.5 a\n")
    (tmp_path / "glm").write_text(";;\n* a setting without a value\n[A] => [B] / [ ] __ [ ]\n")
    with pytest.raises(ValueError, match=r"hubscr did not score .*: .*no quoted field"):
        sclite_hub5(tmp_path / "ref.stm", tmp_path / "hyp.ctm", tmp_path / "glm")
