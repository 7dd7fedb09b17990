"""Processor time of the parts of decoding, as seconds per second of speech on one core.

    python benchmarks/decoding.py GRAPH MODEL FEATS [--utterances 20] [--rounds 3]

GRAPH, MODEL and FEATS are what `asr-parallel decode` takes; the beams are those of `compare`. The parts take turns on
every utterance, and the least of the rounds counts, as other programs only ever add time.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from asr_parallel.decode.acoustic import open_acoustic_model
from asr_parallel.decode.compact_lattice import compact_bytes, compact_from_bytes
from asr_parallel.decode.decoder import Decoder, DecoderOptions
from asr_parallel.decode.determinize import Determinizer
from asr_parallel.decode.lattice import best_paths
from asr_parallel.features.extractors import FRAME_SHIFT_SECONDS
from asr_parallel.hmm.search_graph import SearchGraph
from asr_parallel.hmm.transitions import TransitionModel

OPTIONS = DecoderOptions(beam=10.0, lattice_beam=6.0, max_active=3000, acwt=0.1)
WEIGHTINGS = [(float(lmwt), wip) for lmwt in range(5, 18) for wip in (0.0, 0.5, 1.0)]
PARTS = (
    "acoustic scores", "search", "determinization", "lattice to bytes", "bytes to lattice",
    "best paths of 39 weightings",
)  # fmt: skip


def timed(seconds: np.ndarray, part: int, work: Callable[[], Any]) -> Any:
    """Return the result of `work`, and keep its processor time if it is the least so far."""
    start = time.process_time()
    result = work()
    seconds[part] = min(seconds[part], time.process_time() - start)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("graph", "model", "feats"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--utterances", type=int, default=20, help="spread over the set (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = open_acoustic_model(args.model)
    features = model.open_features(args.feats)
    graph, transitions = SearchGraph.open(args.graph / "search"), TransitionModel.open(args.graph)
    decoder = Decoder(graph, transitions.pdf_of, OPTIONS)
    determinizer = Determinizer(transitions, OPTIONS.acwt, OPTIONS.lattice_beam)
    chosen = np.linspace(0, len(features.ids) - 1, min(args.utterances, len(features.ids))).astype(int)
    frames = octets = 0
    total = np.zeros(len(PARTS))
    for u in (chosen[0], *chosen):
        # the first one is done twice, to compile the kernels
        utterance, least = features[u], np.full(len(PARTS), np.inf)
        for _ in range(args.rounds):
            scores = timed(least, 0, lambda x=utterance: model.log_likelihoods(x))
            lattice = timed(least, 1, lambda x=scores: decoder.decode(x).lattice)
            compact = timed(least, 2, lambda x=lattice: determinizer(x))
            data = timed(least, 3, lambda x=compact: compact_bytes(x))
            again = timed(least, 4, lambda x=data: compact_from_bytes(x)[0])
            timed(least, 5, lambda x=again: best_paths(x, WEIGHTINGS))
        if frames == 0:
            frames = 1
            continue
        frames, octets, total = frames + len(utterance), octets + len(data), total + least
    speech = (frames - 1) * FRAME_SHIFT_SECONDS
    print(f"{len(chosen)} utterances, {speech:.0f} s of speech; {octets / speech / 1e3:.0f} kB of lattices a second")
    for part, seconds in zip(PARTS, total, strict=True):
        print(f"{part:28} {seconds / speech:.5f}")


if __name__ == "__main__":
    main()
