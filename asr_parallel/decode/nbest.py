"""The n best different word sequences of a lattice.

A state-level lattice holds each word sequence a thousand times over, with other alignments. So its words alone, with
scaled costs, are determinized; what remains holds each sequence once, with the cost of its best alignment.
"""

import numpy as np

from asr_parallel.hmm.fst_arrays import STD_ARC, Fst, from_kaldifst, to_kaldifst


def n_best(lattice: Fst, n: int, lmwt: float, wip: float = 0.0) -> list[tuple[float, list[int]]]:
    """Up to `n` (cost, word ids) pairs, the best first.

    The cost is graph_cost + acoustic_cost / lmwt + wip * words (see decode/lattice.py).
    """
    import kaldifst

    arcs = np.zeros(len(lattice.arcs), dtype=STD_ARC)
    words = lattice.arcs["olabel"]
    arcs["ilabel"] = arcs["olabel"] = words
    arcs["weight"] = lattice.arcs["graph_cost"] + lattice.arcs["acoustic_cost"] / lmwt + wip * (words != 0)
    arcs["next"] = lattice.arcs["next"]
    finals = lattice.finals[:, 0] + lattice.finals[:, 1] / np.float32(lmwt)
    acceptor = to_kaldifst(Fst(lattice.start, finals, lattice.offsets, arcs))
    kaldifst.determinize_star(acceptor)
    result = []
    for path in kaldifst.convert_nbest_to_vector(kaldifst.shortest_path(acceptor, n=n)):
        linear = from_kaldifst(path)
        cost = float(linear.arcs["weight"].sum(dtype=np.float64) + linear.finals[np.isfinite(linear.finals)].sum())
        # a chain of states from the start, in whatever numbers
        labels, state = [], linear.start
        while linear.offsets[state] < linear.offsets[state + 1]:
            arc = linear.arcs[linear.offsets[state]]
            if arc["ilabel"]:
                labels.append(int(arc["ilabel"]))
            state = int(arc["next"])
        result.append((cost, labels))
    return sorted(result)
