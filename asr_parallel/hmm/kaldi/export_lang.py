"""Export of a lang folder with all files that Kaldi's tools want (Kaldi: egs/wsj/s5/utils/prepare_lang.sh).

L.fst L_disambig.fst words.txt phones.txt oov.txt oov.int topo
phones/{silence,nonsilence,optional_silence,disambig,context_indep}.{txt,int,csl}
phones/{sets,roots,extra_questions,align_lexicon}.{txt,int}   lines of several phones
phones/wdisambig.txt phones/wdisambig_{phones,words}.int
phones/word_boundary.{txt,int}   where the names of phones end with the position in the word: _B, _I, _E, _S
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from asr_parallel.hmm.kaldi.model_writer import write_topology
from asr_parallel.hmm.kaldi.object_writer import ObjectWriter
from asr_parallel.hmm.lang import Lang
from asr_parallel.hmm.topology import Topology
from asr_parallel.record.files import write_lines

COPIED = ("L.fst", "L_disambig.fst", "words.txt", "phones.txt", "oov.txt")
POSITIONS = {"B": "begin", "I": "internal", "E": "end", "S": "singleton"}


def export_lang(source: Path, folder: Path) -> None:
    """Write the lang folder `source` into `folder`; the topology is that of the systems of this package.

    Raises:
        ValueError: not a lang folder.
    """
    lang = Lang.open(source)
    for name in COPIED:
        shutil.copyfile(source / name, folder / name)
    write_lines(folder / "oov.int", [str(lang.oov_id)])
    out = ObjectWriter(binary=False)
    write_topology(out, Topology.of_phones(lang.silence_phones, lang.nonsilence_phones))
    out.save(folder / "topo")
    name_of = {i: symbol for symbol, i in lang.phones.items()}
    lists = {
        "silence": lang.silence_phones,
        "nonsilence": lang.nonsilence_phones,
        "optional_silence": [lang.optional_silence],
        "disambig": lang.disambig_phones,
        "context_indep": lang.silence_phones,
    }
    for name, ids in lists.items():
        write_lines(folder / "phones" / f"{name}.txt", (name_of[i] for i in ids))
        write_lines(folder / "phones" / f"{name}.int", map(str, ids))
        write_lines(folder / "phones" / f"{name}.csl", [":".join(map(str, ids))])
    _write_tables(folder / "phones", lang, name_of)


def _write_tables(folder: Path, lang: Lang, name_of: Mapping[int, str]) -> None:
    """Write the files whose lines are several phones, each also with ids."""
    real = [*lang.silence_phones, *lang.nonsilence_phones]
    tables: dict[str, list[tuple[str, Sequence[int]]]] = {
        "sets": [("", [phone]) for phone in real],
        "roots": [("shared split ", [phone]) for phone in real],
        "extra_questions": [("", lang.silence_phones), ("", lang.nonsilence_phones)],
    }
    for name, lines in tables.items():
        write_lines(folder / f"{name}.txt", (mark + " ".join(name_of[i] for i in phones) for mark, phones in lines))
        write_lines(folder / f"{name}.int", (mark + " ".join(map(str, phones)) for mark, phones in lines))
    spoken = {(word, phones) for word, variants in lang.lexicon.items() for _, phones in variants}
    pronunciations = sorted(spoken | {("<eps>", (lang.optional_silence,))}, key=lambda one: (one[0].encode(), one[1]))
    named = (" ".join([word, word, *(name_of[i] for i in phones)]) for word, phones in pronunciations)
    numbered = (" ".join(map(str, [lang.words[word]] * 2 + [*phones])) for word, phones in pronunciations)
    write_lines(folder / "align_lexicon.txt", named)
    write_lines(folder / "align_lexicon.int", numbered)
    write_lines(folder / "wdisambig.txt", ["#0"])
    write_lines(folder / "wdisambig_phones.int", [str(lang.phones["#0"])])
    write_lines(folder / "wdisambig_words.int", [str(lang.words["#0"])])
    if all(_position(name_of[i]) != "nonword" for i in lang.nonsilence_phones):
        write_lines(folder / "word_boundary.txt", (f"{name_of[i]} {_position(name_of[i])}" for i in real))
        write_lines(folder / "word_boundary.int", (f"{i} {_position(name_of[i])}" for i in real))


def _position(phone: str) -> str:
    """Return the position in the word that a phone's name says."""
    _, mark, position = phone.rpartition("_")
    return POSITIONS.get(position, "nonword") if mark else "nonword"
