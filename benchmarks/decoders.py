"""Two decodes of a set side by side, such as of two decoders: do they find the same, and how good are the lattices?

    python benchmarks/decoders.py DECODE OTHER_DECODE TEXT

DECODE and OTHER_DECODE are what `asr-parallel decode` makes of one set, TEXT is its Kaldi-style `text`. Errors are
those of the plain edit distance; the oracle takes of each lattice the path with the fewest.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asr_parallel.corpus.kaldi_dir import read_table
from asr_parallel.decode.compact_lattice import CompactLattice
from asr_parallel.decode.lattice import best_paths
from asr_parallel.decode.lattice_archive import LATTICES, read_lattices
from asr_parallel.decode.scored_words import is_scored, scored_words
from asr_parallel.hmm.lang import read_symbols
from asr_parallel.record.compiled import njit
from asr_parallel.record.files import read_json

FOREIGN = -1  # a word of the reference that the decoder does not know


@njit()
def fewest_errors(offsets, targets, words, ending, reference):
    """Return the least edit distance between reference and path. States are in topological order, word 0 is none."""
    num_states, length = len(ending), len(reference)
    errors = np.full((num_states, length + 1), 1 << 30)
    errors[0, 0] = 0
    best = 1 << 30
    for state in range(num_states):
        for i in range(length):
            errors[state, i + 1] = min(errors[state, i + 1], errors[state, i] + 1)
        if ending[state]:
            best = min(best, errors[state, length])
        for a in range(offsets[state], offsets[state + 1]):
            target = targets[a]
            for i in range(length + 1):
                so_far = errors[state, i]
                if words[a] == 0:
                    errors[target, i] = min(errors[target, i], so_far)
                    continue
                errors[target, i] = min(errors[target, i], so_far + 1)
                if i < length:
                    errors[target, i + 1] = min(errors[target, i + 1], so_far + (words[a] != reference[i]))
    return best


@dataclass
class Decode:
    """A decode folder. arcs: of the lattices. best: cost of each best path. errors, oracle_errors: of the set."""

    words: dict[str, tuple[str, ...]]
    best: dict[str, float]
    arcs: int
    errors: int
    oracle_errors: int
    real_time_factor: float
    frames: float


def line_errors(words: list[int], reference: np.ndarray) -> int:
    """Return the edit distance of a sequence, as a lattice of one path."""
    length = len(words)
    ending = np.arange(length + 1) == length
    offsets = np.minimum(np.arange(length + 2), length)
    return int(fewest_errors(offsets, np.arange(1, length + 1), np.array(words, dtype=np.int64), ending, reference))


def read_decode(folder: Path, text: dict[str, str]) -> Decode:
    """Read a decode folder and count its errors."""
    symbols = read_symbols(folder / "words.txt")
    scored = np.array([is_scored(word) for word, _ in sorted(symbols.items(), key=lambda pair: pair[1])])
    scored[0] = False

    def ids(words: tuple[str, ...]) -> np.ndarray:
        return np.array([symbols.get(word, FOREIGN) for word in words], dtype=np.int64)

    summary = read_json(folder / "decode.json")
    words = {name: scored_words(said.split()) for name, said in read_table(folder / "1best.txt").items()}
    references = {name: ids(scored_words(text[name].split())) for name in words}
    errors = sum(line_errors(list(ids(words[name])), references[name]) for name in words)
    lattices: dict[str, CompactLattice] = dict(read_lattices(folder / LATTICES))
    lmwt = 1.0 / summary["options"]["acwt"]
    best, oracle = {}, 0
    for name, reference in references.items():
        if name not in lattices:
            oracle += len(reference)
            continue
        lattice = lattices[name]
        (path,) = best_paths(lattice, [(lmwt, 0.0)])
        best[name] = path.graph_cost + path.acoustic_cost / lmwt
        labels = np.where(scored[lattice.arcs["olabel"]], lattice.arcs["olabel"], 0).astype(np.int64)
        ending = np.isfinite(lattice.finals[:, 0])
        targets = lattice.arcs["next"].astype(np.int64)
        oracle += int(fewest_errors(lattice.offsets, targets, labels, ending, reference))
    arcs = sum(len(lattice.arcs) for lattice in lattices.values())
    factor, frames = summary["real_time_factor_per_core"], summary["audio_seconds"] * 100
    return Decode(words, best, arcs, errors, oracle, factor, frames)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("decode", "other_decode", "text"):
        parser.add_argument(name, type=Path)
    args = parser.parse_args()
    text = read_table(args.text)
    both = [read_decode(folder, text) for folder in (args.decode, args.other_decode)]
    one, other = both
    num_words = sum(len(scored_words(text[name].split())) for name in one.words)
    same = sum(one.words[name] == other.words[name] for name in one.words)
    gaps = np.array([other.best[name] - one.best[name] for name in one.best.keys() & other.best.keys()])
    print(f"{len(one.words)} utterances, {num_words} words; the same words in {same}")
    far = int((np.abs(gaps) > 1e-3).sum())
    print(f"cost of the best path, other - one: from {gaps.min():.4f} to {gaps.max():.4f}; {far} differ by over 0.001")
    rows = {
        "WER %, best path": [f"{100 * d.errors / num_words:.2f}" for d in both],
        "WER %, oracle": [f"{100 * d.oracle_errors / num_words:.2f}" for d in both],
        "lattice arcs a frame": [f"{d.arcs / d.frames:.2f}" for d in both],
        "real-time factor": [f"{d.real_time_factor:.4f}" for d in both],
    }
    for name, cells in rows.items():
        print(f"{name:24}{cells[0]:>10}{cells[1]:>10}")


if __name__ == "__main__":
    main()
