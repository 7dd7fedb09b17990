"""The transition model at the beginning of Kaldi's final.mdl (Kaldi: src/hmm/transition-model.cc, hmm-topology.cc).

    <TransitionModel>
    <Topology> ... </Topology>                           states of each phone and their transitions
    <Triples> N (phone, HMM state, pdf) ... </Triples>   transition states; <Tuples>: with a pdf of the self-loop, too
    <LogProbs> vector </LogProbs>                        by transition id; element 0 is none
    </TransitionModel>

Transition ids are numbered from 1 through the transitions of all transition states, in the topology's order. Models of
Gaussians or networks that come after it are not read.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from asr_parallel.hmm.kaldi.object_reader import ObjectReader
from asr_parallel.hmm.topology import Topology
from asr_parallel.hmm.transitions import TransitionModel

NO_PDF = -1  # the class of a state that emits nothing
MAX_PROBABILITY = 1.01  # of a transition: as much as Kaldi lets sums of them differ from 1


@dataclass(frozen=True, slots=True)
class KaldiState:
    """A state of a phone. The classes name pdfs within the phone: of the self-loop, and of all other transitions.

    transitions: (next state, probability) of each.
    """

    forward_class: int
    self_loop_class: int
    transitions: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class KaldiTransitionModel:
    """A transition model with N transition ids.

    phones: phone -> its states; the last emits nothing and ends the phone.
    tuples (S, 4) int32: phone, HMM state, pdf, pdf of the self-loop; one row a transition state.
    log_prob (N + 1,): natural logarithms of the transitions' probabilities; element 0 is unused.
    """

    path: Path
    phones: dict[int, tuple[KaldiState, ...]]
    tuples: np.ndarray
    log_prob: np.ndarray

    @classmethod
    def read(cls, path: Path) -> "KaldiTransitionModel":
        """Read the beginning of a model.

        Raises:
            ValueError: no such file, another format, truncated, or inconsistent.
        """
        return cls.begin(ObjectReader(path), path)

    @classmethod
    def begin(cls, reader: ObjectReader, path: Path) -> "KaldiTransitionModel":
        """Read the beginning of an opened model, whose rest can then be read; ValueError as in `read`."""
        reader.expect("<TransitionModel>")
        reader.expect("<Topology>")
        phones = _binary_topology(reader) if reader.binary else _text_topology(reader)
        kind = reader.expect("<Triples>", "<Tuples>")
        rows = []
        for _ in range(reader.integer()):
            row = [reader.integer() for _ in range(3)]
            rows.append([*row, reader.integer() if kind == "<Tuples>" else row[2]])
        reader.expect(kind.replace("<", "</"))
        reader.expect("<LogProbs>")
        log_prob = reader.reals()
        reader.expect("</LogProbs>")
        reader.expect("</TransitionModel>")
        model = cls(path, phones, np.array(rows, dtype=np.int32).reshape(-1, 4), log_prob)
        model._check()
        return model

    def _check(self) -> None:
        for phone, states in self.phones.items():
            if len(states) < 2 or states[-1].transitions or states[-1].forward_class != NO_PDF:
                raise ValueError(f"{self.path}: phone {phone}: expected states, the last without pdf and transitions")
            transitions = [one for state in states for one in state.transitions]
            if any(not 0 < probability <= MAX_PROBABILITY for _, probability in transitions):
                raise ValueError(f"{self.path}: phone {phone}: a probability is not between 0 and 1")
            if any(not 0 <= to < len(states) for to, _ in transitions):
                raise ValueError(f"{self.path}: phone {phone}: a transition leads outside its {len(states)} states")
        if not len(self.tuples):
            raise ValueError(f"{self.path}: no transition states")
        for phone, state, pdf, _ in self.tuples.tolist():
            if not 0 <= state < len(self.phones.get(phone, ())):
                raise ValueError(f"{self.path}: state {state} of phone {phone} is not in the topology")
            if pdf < 0:
                raise ValueError(f"{self.path}: state {state} of phone {phone} has pdf {pdf}; expected 0 or more")
        if (self.pdf_of[1:] < 0).any():
            raise ValueError(f"{self.path}: a self-loop without a pdf")
        if len(self.log_prob) != len(self.pdf_of):
            raise ValueError(
                f"{self.path}: {len(self.log_prob) - 1} log probabilities, {self.num_transition_ids} transition ids"
            )
        if not np.isfinite(self.log_prob).all():
            raise ValueError(f"{self.path}: a log probability is not finite")

    @cached_property
    def pdf_of(self) -> np.ndarray:
        """(N + 1,) int32: the pdf of each transition id; -1 for 0, which is none."""
        pdfs = [NO_PDF]
        for phone, state, pdf, self_loop_pdf in self.tuples.tolist():
            pdfs += [self_loop_pdf if to == state else pdf for to, _ in self.phones[phone][state].transitions]
        return np.array(pdfs, dtype=np.int32)

    @property
    def num_transition_ids(self) -> int:
        return len(self.pdf_of) - 1

    @property
    def num_pdfs(self) -> int:
        return int(self.tuples[:, 2:].max()) + 1

    def plain(self) -> TransitionModel:
        """Return the same model as this package has it.

        Raises:
            ValueError: HMMs that it has not: a state without self-loop or whose self-loop has another pdf, or pdf
                classes that are not the states.
        """
        for phone, states in self.phones.items():
            for s, state in enumerate(states[:-1]):
                loops = any(to == s for to, _ in state.transitions)
                if not loops or not state.forward_class == state.self_loop_class == s:
                    raise ValueError(
                        f"state {s} of phone {phone} has no self-loop, or pdf classes that are not its own"
                    )
        return TransitionModel(
            Topology({phone: tuple(map(_normalised, states[:-1])) for phone, states in self.phones.items()}),
            self.tuples[:, :3],
            np.append(np.float32(0), self.log_prob[1:]).astype(np.float32),
        )


def _normalised(state: KaldiState) -> tuple[tuple[int, float], ...]:
    """Return the transitions with probabilities that sum to 1; rounded ones in a topology need not."""
    total = sum(probability for _, probability in state.transitions)
    return tuple((to, probability / total) for to, probability in state.transitions)


def _text_topology(reader: ObjectReader) -> dict[int, tuple[KaldiState, ...]]:
    phones: dict[int, tuple[KaldiState, ...]] = {}
    while reader.expect("<TopologyEntry>", "</Topology>") != "</Topology>":
        reader.expect("<ForPhones>")
        members = []
        while reader.peek() != "</ForPhones>":
            members.append(reader.integer())
        reader.expect("</ForPhones>")
        states: list[KaldiState] = []
        while reader.expect("<State>", "</TopologyEntry>") == "<State>":
            if reader.integer() != len(states):
                reader.fail(f"states in order, {len(states)} before this")
            states.append(_text_state(reader))
        phones |= dict.fromkeys(members, tuple(states))
    return dict(sorted(phones.items()))


def _text_state(reader: ObjectReader) -> KaldiState:
    forward = self_loop = NO_PDF
    if reader.peek() == "<PdfClass>":
        reader.token()
        forward = self_loop = reader.integer()
    elif reader.peek() == "<ForwardPdfClass>":
        reader.token()
        forward = reader.integer()
        reader.expect("<SelfLoopPdfClass>")
        self_loop = reader.integer()
    transitions = []
    while reader.expect("<Transition>", "</State>") == "<Transition>":
        transitions.append((reader.integer(), reader.real()))
    return KaldiState(forward, self_loop, tuple(transitions))


def _binary_topology(reader: ObjectReader) -> dict[int, tuple[KaldiState, ...]]:
    members, entry_of = reader.integers(), reader.integers()
    count = reader.integer()
    own_self_loops = count == -1  # marks the format in which self-loops have pdf classes of their own
    entries = []
    for _ in range(reader.integer() if own_self_loops else count):
        states = []
        for _ in range(reader.integer()):
            forward = reader.integer()
            self_loop = reader.integer() if own_self_loops else forward
            transitions = tuple((reader.integer(), reader.real()) for _ in range(reader.integer()))
            states.append(KaldiState(forward, self_loop, transitions))
        entries.append(tuple(states))
    if any(not (0 <= phone < len(entry_of) and 0 <= entry_of[phone] < len(entries)) for phone in members):
        reader.fail("an entry of the topology for every phone before this")
    reader.expect("</Topology>")
    return {phone: entries[entry_of[phone]] for phone in sorted(members)}
