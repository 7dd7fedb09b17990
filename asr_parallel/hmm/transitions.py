"""The transition model: ids and probabilities of the HMMs' transitions (Kaldi: src/hmm/transition-model.h).

A *transition state* is a (phone, hmm_state, pdf_id) triple that some context can produce; the triples are sorted and
numbered from 0. A *transition id* is one of the transitions out of a transition state, numbered from 1 through all of
them in the topology's order; 0 stays free for epsilon. An id determines phone, HMM state, pdf and next state.

Order within a visit to a state. As in Kaldi's graphs with `reorder=true`, the first frame of a visit carries the id of
the transition by which the state will be *left*, further frames carry the self-loop's id. All alignments and graphs
of this package keep that order; a pdf is the same either way.

Probability scales. `scaled_log_prob` weighs "stay or leave" by self_loop_scale and "leave to where" by
transition_scale (Kaldi: AddTransitionProbs in src/hmm/hmm-utils.h).
"""

from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from asr_parallel.hmm.topology import Topology
from asr_parallel.hmm.tree import Tree
from asr_parallel.record.files import atomic_file, read_json, write_json

# MleTransitionUpdateConfig in transition-model.h
PROBABILITY_FLOOR = 0.01
MIN_COUNT = 5.0


class TransitionModel:
    """Transition ids and their probabilities.

    Arrays over transition states (S of them, 0-based):
        tuples (S, 3) int32: phone, hmm_state, pdf_id, sorted
        first_tid (S + 1,) int32: state s owns the ids first_tid[s] .. first_tid[s + 1] - 1
        self_loop_tid (S,) int32: the id of its self-loop
    Arrays over transition ids (index 0 unused):
        transition_state_of, phone_of, hmm_state_of, next_hmm_state_of, pdf_of: int32
        is_self_loop, is_final: bool; final means: leads to the phone's end
        log_prob: float32, natural logarithm
    """

    def __init__(self, topology: Topology, tuples: np.ndarray, log_prob: np.ndarray | None = None) -> None:
        self.topology = topology
        self.tuples = np.asarray(tuples, dtype=np.int32)
        state_of, next_of, initial = [-1], [-1], [1.0]
        first_tid = []
        for s, (phone, hmm_state, _) in enumerate(self.tuples.tolist()):
            first_tid.append(len(state_of))
            for next_state, probability in topology.phones[phone][hmm_state]:
                state_of.append(s)
                next_of.append(next_state)
                initial.append(probability)
        first_tid.append(len(state_of))
        self.first_tid = np.array(first_tid, dtype=np.int32)
        self.transition_state_of = np.array(state_of, dtype=np.int32)
        self.next_hmm_state_of = np.array(next_of, dtype=np.int32)
        self.phone_of, self.hmm_state_of, self.pdf_of = (
            np.ascontiguousarray(column) for column in self.tuples[self.transition_state_of].T
        )
        for per_tid in (self.phone_of, self.hmm_state_of, self.pdf_of):
            per_tid[0] = -1
        self.is_self_loop = self.next_hmm_state_of == self.hmm_state_of
        self.is_self_loop[0] = False
        num_states = np.array([0] + [topology.num_states(p) for p in self.phone_of[1:].tolist()], dtype=np.int32)
        self.is_final = self.next_hmm_state_of == num_states
        self.self_loop_tid = np.flatnonzero(self.is_self_loop).astype(np.int32)
        self.log_prob = np.log(np.array(initial)).astype(np.float32) if log_prob is None else log_prob
        assert len(self.self_loop_tid) == len(self.tuples) and len(self.log_prob) == len(state_of)
        self.num_pdfs = int(self.tuples[:, 2].max()) + 1
        self._state_index = {(p, s, pdf): i for i, (p, s, pdf) in enumerate(self.tuples.tolist())}

    @classmethod
    def build(cls, topology: Topology, tree: Tree) -> "TransitionModel":
        """Return all transition states that `tree` can produce, with the topology's initial probabilities."""
        triples = [
            (phone, state, pdf)
            for phone, states in topology.phones.items()
            for state in range(len(states))
            for pdf in tree.pdfs(phone, state)
        ]
        return cls(topology, np.array(sorted(triples), dtype=np.int32))

    @property
    def num_transition_ids(self) -> int:
        return len(self.transition_state_of) - 1

    @property
    def num_transition_states(self) -> int:
        return len(self.tuples)

    def transition_state(self, phone: int, hmm_state: int, pdf: int) -> int:
        """Return the number of the triple; ValueError when no context produces it."""
        found = self._state_index.get((phone, hmm_state, pdf))
        if found is None:
            raise ValueError(f"transition model: no state for phone {phone}, hmm state {hmm_state}, pdf {pdf}")
        return found

    def tids(self, transition_state: int) -> range:
        """Return the transition ids out of a transition state, in the topology's order."""
        return range(int(self.first_tid[transition_state]), int(self.first_tid[transition_state + 1]))

    def leave_log_prob(self) -> np.ndarray:
        """Return (S,) float32: log probability of leaving each transition state, log(1 - P(self-loop))."""
        stay = np.exp(self.log_prob[self.self_loop_tid].astype(np.float64))
        return np.log(np.maximum(1.0 - stay, 1e-10)).astype(np.float32)

    def scaled_log_prob(self, transition_scale: float, self_loop_scale: float) -> np.ndarray:
        """Return the log weight of every transition id in a graph, (num_transition_ids + 1,) float32.

        Self-loop: self_loop_scale * log P(loop). Other: self_loop_scale * log P(leave)
        + transition_scale * log P(this way | leave).
        """
        leave = self.leave_log_prob()[self.transition_state_of]
        scaled = self_loop_scale * leave + transition_scale * (self.log_prob - leave)
        scaled[self.is_self_loop] = self_loop_scale * self.log_prob[self.is_self_loop]
        scaled[0] = 0.0
        return scaled.astype(np.float32)

    def updated(self, counts: np.ndarray) -> "TransitionModel":
        """Return a model with maximum-likelihood probabilities for the counts of the ids.

        Args:
            counts: (num_transition_ids + 1,) occurrences; index 0 is ignored.

        States seen fewer than 5 times keep what they have; probabilities are floored at 0.01.
        """
        log_prob = self.log_prob.copy()
        for s in range(self.num_transition_states):
            ids = self.tids(s)
            seen = counts[ids.start : ids.stop].astype(np.float64)
            if len(ids) < 2 or seen.sum() < MIN_COUNT:
                continue
            for _ in range(3):  # repeated, as normalising may undo the floor
                seen = np.maximum(seen / seen.sum(), PROBABILITY_FLOOR)
            log_prob[ids.start : ids.stop] = np.log(seen / seen.sum())
        return TransitionModel(self.topology, self.tuples, log_prob)

    def save(self, folder: Path) -> None:
        """Write `transitions.json` (topology) and `transitions.npz` (states, probabilities) into `folder`."""
        write_json(folder / "transitions.json", {"topology": self.topology.to_json()})
        with atomic_file(folder / "transitions.npz") as temp, temp.open("wb") as file:
            np.savez(file, tuples=self.tuples, log_prob=self.log_prob)

    @classmethod
    def open(cls, folder: Path) -> "TransitionModel":
        """Read what `save` wrote; ValueError when it is not there or damaged."""
        for name in ("transitions.json", "transitions.npz"):
            if not (folder / name).is_file():
                raise ValueError(f"{folder}: no {name}; expected a model folder made by stage 3")
        try:
            topology = Topology.from_json(read_json(folder / "transitions.json")["topology"])
            with np.load(folder / "transitions.npz", allow_pickle=False) as arrays:
                return cls(topology, arrays["tuples"], arrays["log_prob"])
        except (BadZipFile, KeyError) as error:
            raise ValueError(f"{folder}: damaged transition model: {error}") from error
