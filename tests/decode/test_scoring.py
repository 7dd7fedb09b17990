"""Scoring decodes: weights chosen on dev and applied to eval, files, result lines."""

import json

import pytest
from lhotse import AudioSource, Recording, SupervisionSegment

from asr_parallel.cli.main import main
from asr_parallel.corpus.datadir import write_data
from asr_parallel.decode import hypotheses as decoded_by
from asr_parallel.decode.alignments import read_alignments
from asr_parallel.decode.edit_distance import Counts, total
from asr_parallel.decode.hypotheses import WordTime
from asr_parallel.decode.reference import Reference
from asr_parallel.decode.scoring import by_weighting, choose, result_line, write_scoring
from asr_parallel.record.files import write_lines

DEV = {"bob-1": "one two three", "bob-2": "four [noise] five", "eve-1": "six"}


def make_data(folder, texts, recording="sw_4390"):
    source = AudioSource(type="file", channels=[0, 1], source="absent.wav")
    audio = Recording(recording, [source], sampling_rate=8000, num_samples=800_000, duration=100.0)
    supervisions = [
        SupervisionSegment(
            i, recording, start=10.0 * n, duration=5.0, channel=n % 2, text=text, speaker=i.split("-")[0]
        )
        for n, (i, text) in enumerate(texts.items())
    ]
    write_data(folder, [audio], supervisions)
    return folder


def spoken(text):
    return [WordTime(word, 0.5 * n, 0.4) for n, word in enumerate(text.split())]


def test_result_line_is_kaldis():
    counts = Counts(correct=925, sub=73, ins=9, dele=2)
    assert result_line(counts, "exp/x") == "%WER 8.40 [ 84 / 1000, 9 ins, 2 del, 73 sub ] exp/x"


def test_choice_takes_the_middle_of_the_best(tmp_path):
    reference = Reference.open(make_data(tmp_path / "dev", DEV))
    good, bad = DEV, {"bob-1": "one", "bob-2": "four", "eve-1": ""}
    found = {
        (lmwt, 0.0): {i: spoken(text) for i, text in (good if 6 <= lmwt <= 8 else bad).items()} for lmwt in range(5, 11)
    }
    choice = choose(reference, found)
    assert choice.best == (7, 0.0)
    assert choice.tried[7, 0.0] == Counts(correct=6)
    assert choice.tried[5, 0.0] == Counts(correct=2, dele=4)


def test_noises_do_not_count_without_an_stm(tmp_path):
    reference = Reference.open(make_data(tmp_path / "dev", DEV))
    hypothesis = {"bob-1": spoken("one [laughter] two three"), "bob-2": spoken("four five"), "eve-1": spoken("six")}
    assert sum(s.counts.errors for s in reference.score(hypothesis)) == 0


def test_undecoded_utterances_are_deletions_and_unknown_ones_refused(tmp_path):
    reference = Reference.open(make_data(tmp_path / "dev", DEV))
    assert [s.counts.dele for s in reference.score({"bob-1": spoken("one two three")})] == [0, 2, 1]
    with pytest.raises(ValueError, match="utterance zed-1 was decoded, but is not in the data folder"):
        reference.score({"zed-1": []})


def test_plain_scoring_folder(tmp_path):
    reference = Reference.open(make_data(tmp_path / "dev", DEV))
    hypothesis = {"bob-1": spoken("one two"), "bob-2": spoken("four nine"), "eve-1": spoken("six six")}
    write_scoring(tmp_path, "exp/mono/decode_dev", reference, hypothesis, (7, 0.5), {(7, 0.5): Counts(1)})
    line = "%WER 50.00 [ 3 / 6, 1 ins, 1 del, 1 sub ] exp/mono/decode_dev/wer_7_0.5\n"
    assert (tmp_path / "best_wer").read_text() == line
    assert (tmp_path / "hyp.trn").read_text() == "one two (bob-bob-1)\nfour nine (bob-bob-2)\nsix six (eve-eve-1)\n"
    assert (tmp_path / "hyp.ctm").read_text().startswith("sw_4390 A 0.000 0.400 one\nsw_4390 A 0.500 0.400 two\n")
    assert "sw_4390 B 10.500 0.400 nine\n" in (tmp_path / "hyp.ctm").read_text()
    assert (tmp_path / "ref.stm").read_text().startswith("sw_4390 A bob 0.000 5.000 one two three\n")
    table = (tmp_path / "per_speaker").read_text().splitlines()
    assert " ".join(table[1].split()) == "bob 5 3 1 0 1 2 40.00"
    aligned = read_alignments(tmp_path / "alignments.jsonl")
    assert [(a.name, a.speaker, a.reference) for a in aligned][1] == ("bob-2", "bob", "four five")
    assert aligned[1].steps == [("C", 1, "four", "four"), ("S", 2, "five", "nine")]
    record = json.loads((tmp_path / "wer.json").read_text())
    assert record["per_speaker"]["eve"] == {"wer": 100.0, "errors": 1, "words": 1, "ins": 1, "del": 0, "sub": 0}
    assert record["per_utterance"] == {"bob-1": [1, 3], "bob-2": [1, 2], "eve-1": [1, 1]}
    assert (record["lmwt"], record["wip"], record["scorer"], record["rules"]) == (7, 0.5, "asr-parallel", "plain")
    assert record["sclite"] is None or record["sclite"]["errors"] == 3


def test_hub5_scoring_folder_with_halves(tmp_path):
    data = make_data(tmp_path / "eval", {"x-1": "not looked at", "y-1": "", "z-1": ""})
    write_lines(
        data / "ref.stm",
        [
            "en_4156 A en_4156_A 0 5 <O,en,F,en-F> hello (uh) there",
            "sw_4390 A sw_4390_A 0 5 <O,sw,F,sw-F> one two",
            "sw_4390 B sw_4390_B 0 5 <O,sw,F,sw-F> IGNORE_TIME_SEGMENT_IN_SCORING",
            "sw_4390 B sw_4390_B 10 25 <O,sw,F,sw-F> gonna",
        ],
    )
    write_lines(data / "glm", [";; rules", "[GONNA] => [GOING TO] / [ ] __ [ ]"])
    reference = Reference.open(data)
    hypothesis = {"x-1": spoken("one uh [noise] three"), "y-1": spoken("going to")}
    counts = write_scoring(tmp_path / "scoring", "exp/dnn/decode_eval", reference, hypothesis, (7, 0.0))
    assert counts == Counts(correct=4, sub=1, dele=2)
    assert (tmp_path / "scoring" / "best_wer_swbd").read_text().startswith("%WER 25.00 [ 1 / 4, 0 ins, 0 del, 1 sub ]")
    assert (tmp_path / "scoring" / "best_wer_callhome").read_text().startswith("%WER 66.67 [ 2 / 3,")
    aligned = read_alignments(tmp_path / "scoring" / "alignments.jsonl")
    assert [(a.name, a.recording, a.reference) for a in aligned][2] == ("sw_4390_B-0002", "sw_4390", "GOING TO")
    assert total(a.counts for a in aligned) == counts
    record = json.loads((tmp_path / "scoring" / "wer.json").read_text())
    assert record["rules"] == "hub5"
    assert {name: part["words"] for name, part in record["subsets"].items()} == {"swbd": 4, "callhome": 3}
    assert record["sclite"] is None or record["sclite"] == {k: record[k] for k in record["sclite"]}


def test_verb_chooses_on_dev_and_applies_to_eval(tmp_path, monkeypatch, capsys):
    exp = tmp_path / "my exp"
    make_data(exp / "data" / "dev", DEV)
    make_data(exp / "data" / "eval", {"kim-1": "one two"})
    for name in ("decode_dev", "decode_eval", "lang"):
        write_lines(exp / name / "words.txt", ["one 1"])

    def fake(decode, lang, lmwts, wips):  # good at LMWT 9 on dev; eval is asked for that one only
        texts = DEV if decode.name == "decode_dev" else {"kim-1": "one too"}
        assert decode.name == "decode_dev" or (list(lmwts), list(wips)) == ([9], [0.5])
        for i, text in texts.items():
            yield i, {(l, w): spoken(text if l == 9 and w == 0.5 else "") for l in lmwts for w in wips}  # noqa: E741

    monkeypatch.setattr(decoded_by, "hypotheses_of", fake)
    command = ["score", "--lang", str(exp / "lang")]
    for name in ("dev", "eval"):
        command += [f"--data-{name}", str(exp / "data" / name), f"--decode-{name}", str(exp / f"decode_{name}")]
    assert main(command) == 0
    printed = capsys.readouterr().out
    line = f"%WER 50.00 [ 1 / 2, 0 ins, 0 del, 1 sub ] {exp}/decode_eval/wer_9_0.5"
    assert line in printed.splitlines()
    assert (exp / "decode_eval" / "best_wer").read_text() == line + "\n"
    assert len((exp / "decode_dev" / "scoring" / "wer_all").read_text().splitlines()) == 39
    assert main(command) == 0  # up to date: the same lines again
    assert capsys.readouterr().out == printed


@pytest.mark.parametrize(
    ("said", "recognized", "words", "characters"),
    [
        # 今天 was recognized as 明天: one of three words, one of five characters
        ("今天 天气 好", "明天 天气 好", Counts(correct=2, sub=1), Counts(correct=4, sub=1)),
        # other words, the same characters: spaces are none
        ("北京 大学", "北京大学", Counts(sub=1, dele=1), Counts(correct=4)),
        # é is one character, written in one way or as e with an accent; e is another
        ("cafe\u0301 olé", "café ole", Counts(correct=1, sub=1), Counts(correct=6, sub=1)),
        # a Devanagari vowel sign has no form that is one with its consonant: a code point of its own (का, क; 3 of 4)
        ("काम", "कम", Counts(sub=1), Counts(correct=2, dele=1)),
        ("[NOISE] 好 <UNK>", "好", Counts(correct=1), Counts(correct=1)),  # neither words nor characters
        ("<foreign> 好", "<foreign> 好", Counts(correct=2), Counts(correct=2)),  # brackets stay whole, as in Kaldi
        ("", "好 的", Counts(ins=2), Counts(ins=2)),
    ],
)
def test_characters_are_counted_beside_words(tmp_path, said, recognized, words, characters):
    data = make_data(tmp_path / "dev", {"a-1": said, "b-1": "天"})
    hypothesis = {"a-1": spoken(recognized), "b-1": spoken("天")}
    counts = write_scoring(tmp_path, "exp", Reference.open(data), hypothesis, (7, 0.0), units="char")
    assert counts == characters + Counts(correct=1)
    assert total(a.counts for a in read_alignments(tmp_path / "alignments.jsonl")) == words + Counts(correct=1)
    assert total(a.counts for a in read_alignments(tmp_path / "alignments_cer.jsonl")) == counts
    assert (tmp_path / "best_cer").read_text().startswith(f"%CER {counts.wer:.2f} [ {counts.errors} / {counts.words}, ")
    assert (tmp_path / "best_wer").read_text().startswith("%WER ")
    record = json.loads((tmp_path / "cer.json").read_text())
    assert (record["errors"], record["characters"], record["cer"]) == (
        counts.errors, counts.words, pytest.approx(counts.wer, abs=1e-4)
    )  # fmt: skip
    assert record["sclite"] is None or record["sclite"] == {k: record[k] for k in record["sclite"]}


def test_characters_by_the_hub5_rules(tmp_path):
    data = make_data(tmp_path / "eval", {"x-1": "", "y-1": ""})
    write_lines(data / "ref.stm", ["sw_4390 1 s 0 5 <NA> { 你 们 / 他们 } (uh) 好", "sw_4390 2 s 10 15 <NA>"])
    counts = write_scoring(
        tmp_path,
        "exp",
        Reference.open(data),
        {"x-1": spoken("他们 很 好"), "y-1": spoken("的")},
        (7, 0.0),
        units="char",
    )
    # 他 们 好; uh, which may be missing, is, and 很 was said in its place, 的 in silence
    assert counts == Counts(correct=3, ins=2)
    assert json.loads((tmp_path / "wer.json").read_text())["errors"] == 2


def test_an_utterance_in_which_nothing_was_said_counts(tmp_path):
    reference = Reference.open(make_data(tmp_path / "dev", {"bob-1": "one two", "eve-1": "", "eve-2": "[noise]"}))
    hypothesis = {"bob-1": spoken("one two"), "eve-1": spoken("three"), "eve-2": spoken("[laughter]")}
    assert write_scoring(tmp_path, "exp", reference, hypothesis, (7, 0.0)) == Counts(correct=2, ins=1)
    assert (tmp_path / "best_wer").read_text().startswith("%WER 50.00 [ 1 / 2, 1 ins, 0 del, 0 sub ]")
    record = json.loads((tmp_path / "wer.json").read_text(), parse_constant=pytest.fail)  # no Infinity in JSON
    assert record["per_speaker"]["eve"] == {"wer": None, "errors": 1, "words": 0, "ins": 1, "del": 0, "sub": 0}
    assert " ".join((tmp_path / "per_speaker").read_text().splitlines()[2].split()) == "eve 0 0 0 1 0 1 -"


def test_a_set_without_any_word_has_no_error_rate(tmp_path):
    reference = Reference.open(make_data(tmp_path / "dev", {"bob-1": "[noise]", "eve-1": ""}))
    hypothesis = {"bob-1": spoken("one"), "eve-1": spoken("two")}
    for score in (
        lambda: choose(reference, {(7, 0.0): hypothesis}),
        lambda: write_scoring(tmp_path, "exp", reference, hypothesis, (7, 0.0)),
    ):
        with pytest.raises(ValueError, match=r"dev: no word counts.* \(2 insertions\)"):
            score()


def test_the_chosen_units_choose_the_weights(tmp_path, monkeypatch, capsys):
    texts = {"a-1": "北京 大学"}
    for name in ("dev", "eval"):
        make_data(tmp_path / "data" / name, texts)
        write_lines(tmp_path / f"decode_{name}" / "words.txt", ["北京 1"])
    write_lines(tmp_path / "lang" / "words.txt", ["北京 1"])
    # at LMWT 5 one of two words is right and three of four characters, at 6 no word and all characters
    recognized = {5: "北京 大雪", 6: "北京大学"}

    def fake(decode, lang, lmwts, wips):
        yield "a-1", {(l, w): spoken(recognized[l]) for l in lmwts for w in wips}  # noqa: E741

    monkeypatch.setattr(decoded_by, "hypotheses_of", fake)
    command = ["score", "--lang", str(tmp_path / "lang"), "--lmwt-range", "5:6", "--word-ins-penalties", "0"]
    for name in ("dev", "eval"):
        command += [
            f"--data-{name}",
            str(tmp_path / "data" / name),
            f"--decode-{name}",
            str(tmp_path / f"decode_{name}"),
        ]
    assert main([*command, "--score-units", "char"]) == 0
    folder = tmp_path / "decode_eval"
    cer = f"%CER 0.00 [ 0 / 4, 0 ins, 0 del, 0 sub ] {folder}/cer_6_0"
    wer = f"%WER 100.00 [ 2 / 2, 0 ins, 1 del, 1 sub ] {folder}/wer_6_0"
    assert {cer, wer} <= set(capsys.readouterr().out.splitlines())
    assert (folder / "best_cer").read_text() == cer + "\n"
    assert len((tmp_path / "decode_dev" / "scoring" / "cer_all").read_text().splitlines()) == 2
    assert main(command) == 0  # words again: another choice, and no rate of characters left over
    assert (folder / "best_wer").read_text().startswith("%WER 50.00 [ 1 / 2, 0 ins, 0 del, 1 sub ]")
    assert not (folder / "best_cer").exists() and not (folder / "scoring" / "cer.json").exists()


def test_one_dev_set_chooses_the_weights_of_several_sets_or_of_none(tmp_path, monkeypatch):
    command = ["score", "--lang", str(tmp_path / "lang"), "--lmwt-range", "5:7", "--word-ins-penalties", "0"]
    write_lines(tmp_path / "lang" / "words.txt", ["one 1"])
    words = {}
    for name, kind in (("dev", "dev"), ("clean", "eval"), ("other", "eval")):
        data = make_data(tmp_path / "data" / name, {"a-1": "one two"})
        write_lines(tmp_path / f"decode_{name}" / "words.txt", ["one 1"])
        words[name] = [f"--data-{kind}", str(data), f"--decode-{kind}", str(tmp_path / f"decode_{name}")]

    def fake(decode, lang, lmwts, wips):
        right = 5 if decode.name == "decode_dev" else 7
        yield "a-1", {(l, w): spoken("one two" if l == right else "two") for l in lmwts for w in wips}  # noqa: E741

    monkeypatch.setattr(decoded_by, "hypotheses_of", fake)
    assert main([*command, *words["dev"]]) == 0
    assert not (tmp_path / "decode_clean" / "scoring").exists()
    assert main([*command, *(word for of in words.values() for word in of)]) == 0
    found = {name: json.loads((tmp_path / f"decode_{name}" / "scoring" / "wer.json").read_text()) for name in words}
    assert {name: (of["lmwt"], of["wer"]) for name, of in found.items()} == {
        "dev": (5, 0.0), "clean": (5, 50.0), "other": (5, 50.0)
    }  # fmt: skip
    assert all((tmp_path / f"decode_{name}" / "best_wer").is_file() for name in words)


def test_an_evaluation_set_without_its_decode_is_refused(tmp_path, capsys):
    command = ["score", "--lang", "l", "--data-dev", "a", "--decode-dev", "b", "--data-eval", "c"]
    assert main(command) == 1
    assert "1 --data-eval and 0 --decode-eval: expected as many of both" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--lmwt-range=17:5", "first:last"),
        ("--word-ins-penalties=0,nan", "word_ins_penalties nan: expected a number that is finite"),
    ],
)
def test_bad_ranges_are_one_line(tmp_path, capsys, option, message):
    command = ["score", "--lang", "l", "--data-dev", "a", "--decode-dev", "b", "--data-eval", "c", "--decode-eval", "d"]
    assert main([*command, option]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_by_weighting_turns_the_table():
    pairs = [("u1", {(5, 0.0): ["a"], (6, 0.0): ["b"]}), ("u2", {(5, 0.0): ["c"], (6, 0.0): ["d"]})]
    assert by_weighting(pairs) == {(5, 0.0): {"u1": ["a"], "u2": ["c"]}, (6, 0.0): {"u1": ["b"], "u2": ["d"]}}
