"""MAPSSWE agrees with NIST's sc_stats, where it is installed: the same files, the same segments and statistics."""

import itertools
import os
import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from asr_parallel.corpus.nist_files import StmSegment, channel_name, write_stm, write_trn
from asr_parallel.decode.alignments import ScoredDecode
from asr_parallel.decode.edit_distance import align_steps
from asr_parallel.decode.matched_pairs import CRITICAL_Z, matched_pairs, segment_errors
from asr_parallel.decode.sclite import find_tool
from asr_parallel.decode.significance import mapsswe
from asr_parallel.decode.word_network import literal_transcript, parse_transcript

DECODES = os.environ.get("ASR_PARALLEL_DECODES")
RESULT = re.compile(
    r"MTCH_PR_RESULTS .*\(# segs: (\d+)\).*\(mean: *([-\d.]+)\) \(std dev: *([-\d.]+)\) "
    r"\(Z Stat: *([-\d.]+)\) \(Stat Diff: (Yes|No)\)"
)
pytestmark = pytest.mark.skipif(
    find_tool("sclite") is None or find_tool("sc_stats") is None, reason="sc_stats is not installed (Debian: sctk)"
)


def call(tool, options, cwd=None, stdin=b""):
    command = [*find_tool(tool), *options.split()]
    done = subprocess.run(command, cwd=cwd, input=stdin, capture_output=True, check=True, timeout=120)
    return done.stdout.decode(errors="replace")  # sc_stats pads its tables with stray bytes


def sc_stats(alignments):
    """Segments, mean, deviation, Z and verdict of two alignments in sclite's sgml."""
    said = RESULT.search(call("sc_stats", "-p -t mapsswe -v -n -", stdin="".join(alignments).encode()))
    return int(said[1]), *map(float, said.group(2, 3, 4)), said[5] == "Yes"


def check(ours, theirs):
    """sc_stats prints three decimals."""
    segments, mean, deviation, z, significant = ours
    assert (segments, significant) == (theirs[0], theirs[4])
    assert (mean, deviation, z) == pytest.approx(theirs[1:4], abs=6e-4)


def statistics_of(pairs):
    segments = [errors for a, b in pairs for errors in segment_errors(a, b)]
    mean, deviation, z, _ = matched_pairs(segments)
    return len(segments), mean, deviation, z, abs(z) > CRITICAL_Z


def garbled(words, rng, rate, vocabulary):
    recognized = []
    for word in words:
        if rng.random() >= rate / 2:
            recognized.append(rng.choice(vocabulary) if rng.random() < rate else word)
        if rng.random() < rate / 2:
            recognized.append(rng.choice(vocabulary))
    if not words and rng.random() < rate:
        recognized.append(rng.choice(vocabulary))
    return recognized


@pytest.mark.parametrize(("seed", "rates"), [(1, (0.1, 0.1)), (2, (0.1, 0.2)), (3, (0.5, 0.45)), (4, (0.02, 0.0))])
def test_plain(tmp_path, seed, rates):
    rng = random.Random(seed)
    vocabulary = list("abcdefghij")
    texts = {f"spk{n % 9}-utt{n}": rng.choices(vocabulary, k=rng.randint(0, 25)) for n in range(300)}
    systems = [{i: garbled(words, rng, rate, vocabulary) for i, words in texts.items()} for rate in rates]
    speakers = {i: i.partition("-")[0] for i in texts}
    for name, side in zip(("ref", "A", "B"), (texts, *systems), strict=True):
        write_trn(tmp_path / name, {i: " ".join(words) for i, words in side.items()}, speakers)
    sgml = [call("sclite", f"-i rm -r ref trn -h {name} trn {name} -o sgml stdout", cwd=tmp_path) for name in "AB"]
    steps = [
        [align_steps(literal_transcript(texts[i]), literal_transcript(system[i])) for i in texts] for system in systems
    ]
    check(statistics_of(zip(*steps, strict=True)), sc_stats(sgml))
    check(statistics_of(zip(*reversed(steps), strict=True)), sc_stats(reversed(sgml)))


def test_optional_words_and_fragments(tmp_path):
    rng = random.Random(5)
    vocabulary = ["the", "thing", "i'm", "one", "two", "three", "four"]
    segments, systems = [], ({}, {})
    for n in range(200):
        words = rng.choices(vocabulary, k=rng.randint(1, 15))
        text = " ".join(rng.choice([w, w, w, w, f"({w})", "th-", "(uh)"]) for w in words)
        segments.append(StmSegment("rec", channel_name(0), "spk", 10.0 * n, 10.0 * n + 10, text))
        for system in systems:
            system[n] = garbled(words, rng, 0.2, vocabulary) or ["one"]
    write_stm(tmp_path / "ref", segments)
    sgml, steps = [], []
    for name, system in zip("AB", systems, strict=True):
        lines = [f"rec A {10 * n + 0.2 * k:.1f} 0.1 {w}" for n, words in system.items() for k, w in enumerate(words, 1)]
        (tmp_path / name).write_text("\n".join(lines) + "\n")
        sgml.append(call("sclite", f"-r ref stm -h {name} ctm -F -D -o sgml stdout", cwd=tmp_path))
        hypotheses = [literal_transcript(words) for words in system.values()]
        steps.append([align_steps(parse_transcript(s.text), h) for s, h in zip(segments, hypotheses, strict=True)])
    check(statistics_of(zip(*steps, strict=True)), sc_stats(sgml))


def decodes():
    """Pairs of decode folders of one set, in the experiment folder that ASR_PARALLEL_DECODES names."""
    found = {name: sorted(Path(DECODES).glob(f"*/{name}")) for name in ("decode_dev", "decode_eval")} if DECODES else {}
    return [pair for folders in found.values() for pair in itertools.combinations(folders, 2)][:20]


def real_sgml(decode, tmp_path):
    """What sclite, or hubscr.pl, makes of the files that scoring left."""
    scoring = decode / "scoring"
    folder = tmp_path / decode.parent.name
    folder.mkdir()
    for name in ("ref.trn", "hyp.trn", "ref.stm", "hyp.ctm"):
        shutil.copyfile(scoring / name, folder / name)
    if ScoredDecode.open(decode).scorer.endswith("plain"):
        return call("sclite", "-i rm -r ref.trn trn -h hyp.trn trn -o sgml stdout", cwd=folder)
    (folder / "glm").write_text((scoring / "glm").read_text() if (scoring / "glm").is_file() else ";; no rules\n")
    call("hubscr", "-V -l english -h hub5 -g glm -r ref.stm hyp.ctm", cwd=folder)
    return (folder / "hyp.ctm.filt.sgml").read_text(encoding="utf-8")


@pytest.mark.skipif(not DECODES, reason="ASR_PARALLEL_DECODES names no experiment folder with scored decodes")
def test_real_decodes(tmp_path):
    assert decodes()
    for n, pair in enumerate(decodes()):
        (tmp_path / str(n)).mkdir()
        ours = mapsswe(*pair)
        check(
            (ours.segments, ours.mean, ours.deviation, ours.z, ours.significant),
            sc_stats([real_sgml(decode, tmp_path / str(n)) for decode in pair]),
        )
