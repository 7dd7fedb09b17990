"""The H transducer from transition ids to phones in context, and the self-loops that are added last.

Kaldi: src/hmm/hmm-utils.cc (GetHTransducer, AddSelfLoops). Graphs are "reordered": the transition out of a state
comes first and its self-loops follow, so a self-loop is added to the state that the transition's arcs enter.
"""

from collections.abc import Sequence

import numpy as np

from asr_parallel.hmm.fst_arrays import STD_ARC, Fst, fst_from_arcs
from asr_parallel.hmm.transitions import TransitionModel
from asr_parallel.hmm.tree import Tree

COPY_UP_TO = 10  # arcs; the fastest of 3, 10 and none on a 1,000-word trigram, with a 10 % larger graph


def h_transducer(
    windows: Sequence[Sequence[int]],
    tree: Tree,
    transitions: TransitionModel,
    transition_scale: float,
    self_loop_scale: float,
) -> Fst:
    """Return the closure of all phones' HMMs without self-loops, arcs sorted by olabel.

    Args:
        windows: what each ilabel of C o L o G stands for (compose_context's list): a window of phones, 0 outside;
            [] for epsilon (index 0); a single number <= 0 for a disambiguation symbol.
        transition_scale, self_loop_scale: as in TransitionModel.scaled_log_prob; leaving a state costs here what
            Kaldi adds together with the self-loops, so paths cost the same.

    Returns:
        ilabels: transition ids, above them one for each disambiguation window; olabels: indices into `windows`.
        State 0 is initial and final; a phone's HMM is shared by all windows that give it the same pdfs.
    """
    costs = -transitions.scaled_log_prob(transition_scale, self_loop_scale)
    arcs: list[tuple[int, int, float, int]] = []
    sources: list[int] = []
    chains: dict[tuple[int, ...], list[tuple[int, float, int]]] = {}  # (phone, *pdfs) -> arcs that enter the HMM
    num_states = 1
    disambig = transitions.num_transition_ids
    for index, window in enumerate(windows):
        if len(window) == 0:
            assert index == 0, "only the first window may be empty"
            continue
        if len(window) == 1 and window[0] <= 0:
            disambig += 1
            sources.append(0)
            arcs.append((disambig, index, 0.0, 0))
            continue
        phone = window[tree.central_position]
        pdfs = tuple(tree.pdf(window, state) for state in range(transitions.topology.num_states(phone)))
        if (phone, *pdfs) not in chains:
            end = len(pdfs)
            for state, pdf in enumerate(pdfs):
                leaving = [
                    (tid, float(costs[tid]), 0 if next_state == end else num_states + next_state)
                    for tid in transitions.tids(transitions.transition_state(phone, state, pdf))
                    if (next_state := int(transitions.next_hmm_state_of[tid])) != state
                ]
                if state == 0:
                    chains[(phone, *pdfs)] = leaving
                sources += [num_states + state] * len(leaving)
                arcs += [(tid, 0, cost, target) for tid, cost, target in leaving]
            num_states += end
        entry = chains[(phone, *pdfs)]
        sources += [0] * len(entry)
        arcs += [(tid, index, cost, target) for tid, cost, target in entry]
    finals = np.full(num_states, np.inf, dtype=np.float32)
    finals[0] = 0.0
    packed = np.array(arcs, dtype=STD_ARC)
    order = np.argsort(packed["olabel"], kind="stable")
    return fst_from_arcs(0, finals, np.array(sources)[order], packed[order])


def add_self_loops(fst: Fst, transitions: TransitionModel, transition_scale: float, self_loop_scale: float) -> Fst:
    """Give every state the self-loop of the transition state whose arcs enter it.

    Where arcs of several transition states enter one state, or such arcs and epsilon arcs, each transition state gets
    its own state: a copy if the state has few arcs, which is faster to search than an epsilon arc to the old state as
    in Kaldi. A state that is used only through its copies stays in the result but is unreachable.
    """
    assert fst.arcs["ilabel"].max() <= transitions.num_transition_ids, "disambiguation symbols are still there"
    assert not transitions.is_self_loop[fst.arcs["ilabel"]].any(), "self-loops are already there"
    num_states = fst.num_states
    arcs, sources = fst.arcs.copy(), fst.sources
    entering = transitions.transition_state_of[arcs["ilabel"]]  # -1 for epsilon
    lowest = np.full(num_states, transitions.num_transition_states)
    highest = np.full(num_states, -1)
    np.minimum.at(lowest, arcs["next"], entering)
    np.maximum.at(highest, arcs["next"], entering)
    lowest[fst.start] = -1  # entered without any arc

    mixed = (lowest != highest)[arcs["next"]] & (entering >= 0)
    pairs, new_state = np.unique(
        np.stack([arcs["next"][mixed], entering[mixed]], axis=1).reshape(-1, 2), axis=0, return_inverse=True
    )
    arcs["next"][mixed] = num_states + new_state.reshape(-1)
    counts = np.diff(fst.offsets)
    copied = counts[pairs[:, 0]] <= COPY_UP_TO
    joint_states = num_states + np.flatnonzero(~copied)
    joints = np.zeros(len(joint_states), dtype=STD_ARC)
    joints["next"] = pairs[~copied, 0]
    originals = pairs[copied, 0]
    copy_states = np.repeat(num_states + np.flatnonzero(copied), counts[originals])
    nth = np.arange(len(copy_states)) - np.repeat(np.cumsum(counts[originals]) - counts[originals], counts[originals])
    copies = arcs[np.repeat(fst.offsets[originals], counts[originals]) + nth]

    own = np.where(lowest == highest, highest, -1)  # the transition state of each old state's self-loop
    looping = np.concatenate([np.flatnonzero(own >= 0), num_states + np.arange(len(pairs))])
    loop_states = np.concatenate([own[own >= 0], pairs[:, 1]])
    loops = np.zeros(len(looping), dtype=STD_ARC)
    loops["ilabel"] = transitions.self_loop_tid[loop_states]
    loops["weight"] = -transitions.scaled_log_prob(transition_scale, self_loop_scale)[loops["ilabel"]]
    loops["next"] = looping
    return fst_from_arcs(
        fst.start,
        np.concatenate([fst.finals, np.where(copied, fst.finals[pairs[:, 0]], np.inf).astype(np.float32)]),
        np.concatenate([sources, joint_states, copy_states, looping]),
        np.concatenate([arcs, joints, copies, loops]),
    )
