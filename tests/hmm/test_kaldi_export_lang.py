"""Export of lang folders for Kaldi."""

from pathlib import Path

import pytest
from kaldi_world import write_lang

from asr_parallel.cli.main import main
from asr_parallel.hmm.lang import Lang, build_lang

LEXICON = {"<unk>": [(1.0, ("spn",))], "a": [(1.0, ("ah",)), (0.5, ("ey",))], "at": [(1.0, ("ah", "t"))]}
# By prepare_lang.sh's rules: <eps> 0, <unk> 1, a 2, at 3, #0 4; sil 1, spn 2, ah 3, ey 4, t 5, #0 to #2 from 6
FILES = {
    "oov.int": "1\n",
    "phones/silence.int": "1\n2\n",
    "phones/silence.csl": "1:2\n",
    "phones/nonsilence.txt": "ah\ney\nt\n",
    "phones/nonsilence.csl": "3:4:5\n",
    "phones/optional_silence.int": "1\n",
    "phones/context_indep.txt": "sil\nspn\n",
    "phones/disambig.int": "6\n7\n8\n",
    "phones/sets.int": "1\n2\n3\n4\n5\n",
    "phones/roots.txt": "".join(f"shared split {phone}\n" for phone in ("sil", "spn", "ah", "ey", "t")),
    "phones/roots.int": "".join(f"shared split {phone}\n" for phone in range(1, 6)),
    "phones/extra_questions.txt": "sil spn\nah ey t\n",
    "phones/extra_questions.int": "1 2\n3 4 5\n",
    "phones/align_lexicon.txt": "<eps> <eps> sil\n<unk> <unk> spn\na a ah\na a ey\nat at ah t\n",
    "phones/align_lexicon.int": "0 0 1\n1 1 2\n2 2 3\n2 2 4\n3 3 3 5\n",
    "phones/wdisambig.txt": "#0\n",
    "phones/wdisambig_phones.int": "6\n",
    "phones/wdisambig_words.int": "4\n",
}
TOPOLOGY_OF_SPEECH = """<TopologyEntry> <ForPhones> 3 4 5 </ForPhones>
<State> 0 <PdfClass> 0 <Transition> 0 0.75 <Transition> 1 0.25 </State>
<State> 1 <PdfClass> 1 <Transition> 1 0.75 <Transition> 2 0.25 </State>
<State> 2 <PdfClass> 2 <Transition> 2 0.75 <Transition> 3 0.25 </State>
<State> 3 </State> </TopologyEntry> </Topology>"""


def test_all_files_of_a_lang_folder(tmp_path: Path) -> None:
    build_lang(tmp_path / "lang", LEXICON)
    assert main(["export-kaldi", "--lang", str(tmp_path / "lang"), "--out", str(tmp_path / "kaldi")]) == 0
    out = tmp_path / "kaldi"
    assert {name: (out / name).read_text(encoding="utf-8") for name in FILES} == FILES
    words = (out / "topo").read_text(encoding="utf-8").split()
    assert words[:4] == ["<Topology>", "<TopologyEntry>", "<ForPhones>", "1"]
    speech = TOPOLOGY_OF_SPEECH.split()
    assert words[-len(speech) :] == speech
    for name in ("L.fst", "L_disambig.fst", "words.txt", "phones.txt", "oov.txt"):
        assert (out / name).read_bytes() == (tmp_path / "lang" / name).read_bytes()
    assert not (out / "phones" / "word_boundary.txt").exists()


def test_phones_by_position_have_word_boundaries(tmp_path: Path) -> None:
    write_lang(tmp_path / "lang")
    assert main(["export-kaldi", "--lang", str(tmp_path / "lang"), "--out", str(tmp_path / "kaldi")]) == 0
    lines = (tmp_path / "kaldi" / "phones" / "word_boundary.txt").read_text(encoding="utf-8").splitlines()
    assert lines[:5] == ["SIL nonword", "SIL_B begin", "SIL_E end", "SIL_I internal", "SIL_S singleton"]
    phones = Lang.open(tmp_path / "lang").phones
    numbered = (tmp_path / "kaldi" / "phones" / "word_boundary.int").read_text(encoding="utf-8").splitlines()
    assert numbered == [f"{phones[phone]} {position}" for phone, position in map(str.split, lines)]


def test_bad_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, message in (
        (["--lang", str(tmp_path)], "no words.txt; expected a lang folder"),
        (["--lang", str(tmp_path), "--text"], "--text is of no use to a lang folder alone"),
        ([], "nothing to export; expected --model, --feats or --lang"),
    ):
        assert main(["export-kaldi", *words, "--out", str(tmp_path / "kaldi")]) == 1
        (line,) = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
        assert message in line
    assert not (tmp_path / "kaldi").exists()
