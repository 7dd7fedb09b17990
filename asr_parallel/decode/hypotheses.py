"""Words of a decode folder, with times, for every LM weight and word insertion penalty."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from asr_parallel.decode.compact_lattice import CompactLattice
from asr_parallel.decode.lattice import BestPath, best_paths
from asr_parallel.decode.lattice_archive import LATTICES, ONE_BEST, read_lattices
from asr_parallel.features.extractors import FRAME_SHIFT_SECONDS
from asr_parallel.hmm.lang import Lang, check_phones
from asr_parallel.hmm.transitions import TransitionModel
from asr_parallel.hmm.word_times import Times, WordTimes
from asr_parallel.record.files import read_lines
from asr_parallel.record.progress_bar import progress

Weighting = tuple[float, float]  # LMWT and word insertion penalty, see decode/lattice.py


class WordTime(NamedTuple):
    """A recognised word. Times in seconds from the start of its utterance, as Kaldi's ctm files have them."""

    word: str
    start: float
    duration: float


def hypotheses(lattice: CompactLattice, weightings: Sequence[Weighting], finder: WordTimes) -> list[Times]:
    """Return the best words of `lattice` under each weighting, with times in frames; equal ones are one object."""
    timed: dict[int, Times] = {}
    paths = best_paths(lattice, weightings)
    for path in paths:
        if id(path) not in timed:
            timed[id(path)] = _times(path, finder)
    return [timed[id(path)] for path in paths]


def _times(path: BestPath, finder: WordTimes) -> Times:
    try:
        return finder.words(path.transition_ids, path.words)
    except ValueError:
        # A path without a final state may end within a word. Each word then lasts until the next label.
        ends = [*path.word_frames[1:], len(path.transition_ids)]
        return [(w, start, end - start) for w, start, end in zip(path.words, path.word_frames, ends, strict=True)]


def hypotheses_of(
    decode_folder: Path, lang_folder: Path, lmwts: Sequence[float], wips: Sequence[float]
) -> Iterator[tuple[str, dict[Weighting, list[WordTime]]]]:
    """Yield each utterance's id and its words for every (LMWT, word insertion penalty).

    Includes every utterance of the set, in the order of decoding; one without a lattice has no words.

    Raises:
        ValueError: not a decode folder, or made with other words or phones than those of `lang_folder`.
    """
    for name in (ONE_BEST, LATTICES, "words.txt"):
        if not (decode_folder / name).is_file():
            raise ValueError(f"{decode_folder}: no {name}; expected a folder made by decode")
    if (decode_folder / "words.txt").read_bytes() != (lang_folder / "words.txt").read_bytes():
        raise ValueError(f"{decode_folder}: decoded with other words than those of {lang_folder}")
    lang, transitions = Lang.open(lang_folder), TransitionModel.open(decode_folder)
    check_phones(lang, transitions.topology, decode_folder)
    finder = WordTimes(lang, transitions)
    symbols = {i: word for word, i in lang.words.items()}
    weightings = [(lmwt, wip) for lmwt in lmwts for wip in wips]
    lattices = read_lattices(decode_folder / LATTICES)
    following = next(lattices, None)
    for line in progress(read_lines(decode_folder / ONE_BEST), f"reading lattices of {decode_folder}", unit="utt"):
        utterance = line.partition(" ")[0]
        if following is None or following[0] != utterance:
            if line.partition(" ")[2]:
                raise ValueError(f"{decode_folder}: no lattice of {utterance}, which has words in {ONE_BEST}")
            yield utterance, {weighting: [] for weighting in weightings}
            continue
        named: dict[int, list[WordTime]] = {}
        words = hypotheses(following[1], weightings, finder)
        for timed in words:
            if id(timed) not in named:
                named[id(timed)] = [
                    WordTime(symbols[w], start * FRAME_SHIFT_SECONDS, frames * FRAME_SHIFT_SECONDS)
                    for w, start, frames in timed
                ]
        yield utterance, {weighting: named[id(timed)] for weighting, timed in zip(weightings, words, strict=True)}
        following = next(lattices, None)
    if following is not None:
        raise ValueError(f"{decode_folder}: a lattice of {following[0]}, which {ONE_BEST} does not name in this order")
