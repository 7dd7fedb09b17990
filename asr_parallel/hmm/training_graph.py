"""The training graph of a transcript: its words' pronunciations, optional silence, contexts, HMM states.

The graph equals Kaldi's training graph (compile-train-graphs: H o C o L o words), built directly: its states are HMM
states in context that emit one frame or more. It holds no acoustic or transition probability, so one graph serves all
iterations that share a tree; only the transition probabilities are looked up again.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from asr_parallel.hmm.lexicon_fst import SILENCE_PROBABILITY
from asr_parallel.hmm.segments import NO_PHONE
from asr_parallel.hmm.transitions import TransitionModel
from asr_parallel.hmm.tree import Tree

_OUT_OF_CONTEXT = -1


class Pronunciations(Protocol):
    """The part of a lang folder that training graphs need."""

    @property
    def lexicon(self) -> dict[str, list[tuple[float, tuple[int, ...]]]]: ...

    @property
    def optional_silence(self) -> int: ...


@dataclass(frozen=True)
class TrainingGraph:
    """S emitting states and A arcs between visits to them; arcs are sorted by source state.

    transition_state (S,) int32: which (phone, hmm_state, pdf) the state is; its self-loop is implied.
    start_weight (S,) float32: log weight of beginning in the state; -inf where none begins.
    arc_offsets (S + 1,) int32: state s owns the arcs arc_offsets[s] .. arc_offsets[s + 1] - 1.
    arc_source, arc_target (A,) int32; target S is the utterance's end.
    arc_tid (A,) int32: transition id of leaving the source that way.
    arc_weight (A,) float32: log probability of pronunciation and silence.
    """

    transition_state: np.ndarray
    start_weight: np.ndarray
    arc_offsets: np.ndarray
    arc_source: np.ndarray
    arc_target: np.ndarray
    arc_tid: np.ndarray
    arc_weight: np.ndarray

    @property
    def num_states(self) -> int:
        return len(self.transition_state)


@dataclass
class _Phones:
    """Phone tokens of an utterance and the successors of each; -1 is the end."""

    phone: list[int]
    starts: list[tuple[int, float]]
    successors: list[list[tuple[int, float]]]


class GraphBuilder:
    """Builds training graphs for one lang folder, tree and transition model."""

    def __init__(self, lang: Pronunciations, tree: Tree, transitions: TransitionModel) -> None:
        assert tree.context_width in (1, 3), "monophones or triphones"
        self._lang = lang
        self._tree = tree
        self._transitions = transitions
        self._hmms: dict[tuple[int, int, int], tuple[int, ...]] = {}

    def build(self, words: Sequence[str]) -> TrainingGraph:
        """Return the graph of a transcript (words of the lexicon; none at all means silence).

        Raises:
            ValueError: a word has no pronunciation.
        """
        return self._expand(self._link_phones(words))

    def _link_phones(self, words: Sequence[str]) -> _Phones:
        """Return tokens and their order: words in sequence, each pronunciation a chain, optional silence around."""
        silence, optional_weight = self._lang.optional_silence, math.log(SILENCE_PROBABILITY)
        phones = _Phones([silence], [(0, optional_weight if words else 0.0)], [[]])
        ends_so_far = [0]  # tokens at which the utterance so far may end, and what it costs to go on from each
        end_costs = [0.0]
        first = True
        for word in words:
            if word not in self._lang.lexicon:
                raise ValueError(f"the word {word!r} has no pronunciation in the lexicon")
            ends = []
            for probability, chain in self._lang.lexicon[word]:
                token = len(phones.phone)
                weight = math.log(probability)
                for end, cost in zip(ends_so_far, end_costs, strict=True):
                    phones.successors[end].append((token, cost + weight))
                if first:
                    phones.starts.append((token, optional_weight + weight))
                phones.phone += chain
                phones.successors += [[(token + i + 1, 0.0)] for i in range(len(chain) - 1)] + [[]]
                ends.append(token + len(chain) - 1)
            pause = len(phones.phone)
            phones.phone.append(silence)
            phones.successors.append([])
            for end in ends:
                phones.successors[end].append((pause, optional_weight))
            ends_so_far, end_costs, first = [*ends, pause], [optional_weight] * len(ends) + [0.0], False
        for end, cost in zip(ends_so_far, end_costs, strict=True):
            phones.successors[end].append((-1, cost))
        return phones

    def _hmm(self, context: tuple[int, int, int]) -> tuple[int, ...]:
        """Return the transition state of each HMM state of the phone in the middle of `context`."""
        found = self._hmms.get(context)
        if found is None:
            window = context if self._tree.context_width == 3 else context[1:2]
            found = tuple(
                self._transitions.transition_state(context[1], state, self._tree.pdf(window, state))
                for state in range(self._transitions.topology.num_states(context[1]))
            )
            self._hmms[context] = found
        return found

    def _expand(self, phones: _Phones) -> TrainingGraph:
        """Expand tokens to tokens in context, and those to HMM states."""
        wide = self._tree.context_width == 3
        units: dict[tuple[int, int, int], int] = {}  # (left phone, token, right phone) -> number
        arcs_of_units: list[list[tuple[int, float]]] = []

        def contexts(left: int, token: int) -> Iterator[int]:
            """Yield the units of a token after the phone `left`, one for each phone that may follow."""
            rights = {NO_PHONE if n < 0 else phones.phone[n] for n, _ in phones.successors[token]}
            for right in sorted(rights) if wide else (_OUT_OF_CONTEXT,):
                key = (left if wide else _OUT_OF_CONTEXT, token, right)
                if key not in units:
                    units[key] = len(units)
                    keys.append(key)
                yield units[key]

        keys: list[tuple[int, int, int]] = []
        starts = [(unit, weight) for token, weight in phones.starts for unit in contexts(NO_PHONE, token)]
        done = 0
        while done < len(keys):  # grows as units are found
            _, token, right = keys[done]
            arcs: list[tuple[int, float]] = []
            for following, weight in phones.successors[token]:
                follower = NO_PHONE if following < 0 else phones.phone[following]
                if right not in (_OUT_OF_CONTEXT, follower):
                    continue
                if following < 0:
                    arcs.append((-1, weight))
                else:
                    arcs += [(unit, weight) for unit in contexts(phones.phone[token], following)]
            arcs_of_units.append(arcs)
            done += 1
        # numbered by token, states run along with time, which keeps the search's active band narrow
        order = sorted(range(len(keys)), key=lambda unit: keys[unit][1])
        hmms = [self._hmm((left, phones.phone[token], right)) for left, token, right in keys]
        return self._states(hmms, arcs_of_units, starts, order)

    def _states(
        self,
        hmms: Sequence[tuple[int, ...]],
        arcs_of_units: Sequence[Sequence[tuple[int, float]]],
        starts: Sequence[tuple[int, float]],
        order: Sequence[int],
    ) -> TrainingGraph:
        model = self._transitions
        base = [0] * len(hmms)
        states: list[int] = []
        for unit in order:
            base[unit] = len(states)
            states += hmms[unit]
        offsets, source, target, tids, weights = [0], [], [], [], []
        for unit in order:
            num_states = len(hmms[unit])
            for hmm_state, transition_state in enumerate(hmms[unit]):
                state = base[unit] + hmm_state
                tid = int(model.first_tid[transition_state])
                for next_state, _ in model.topology.phones[int(model.tuples[transition_state, 0])][hmm_state]:
                    if next_state == num_states:
                        for unit_after, weight in arcs_of_units[unit]:
                            source.append(state)
                            target.append(len(states) if unit_after < 0 else base[unit_after])
                            tids.append(tid)
                            weights.append(weight)
                    elif next_state != hmm_state:
                        source.append(state)
                        target.append(base[unit] + next_state)
                        tids.append(tid)
                        weights.append(0.0)
                    tid += 1
                offsets.append(len(source))
        start_weight = np.full(len(states), -np.inf, dtype=np.float32)
        for unit, weight in starts:
            start_weight[base[unit]] = weight
        source_array, target_array, tid_array = (np.array(v, dtype=np.int32) for v in (source, target, tids))
        return TrainingGraph(
            np.array(states, dtype=np.int32),
            start_weight,
            np.array(offsets, dtype=np.int32),
            source_array,
            target_array,
            tid_array,
            np.array(weights, dtype=np.float32),
        )
