"""HMM topologies: the states of a phone and their transitions (Kaldi: src/hmm/hmm-topology.h, utils/gen_topo.pl).

Emitting states are numbered 0 .. n-1, entry is always state 0, and state n is the phone's end (it emits nothing).
The pdf class of a state is the state itself: every state of a phone can have a pdf of its own.
"""

from dataclasses import dataclass
from typing import Any

# gen_topo.pl as called by prepare_lang.sh: 3 states for speech, 5 for silence and noise
NUM_NONSILENCE_STATES = 3
NUM_SILENCE_STATES = 5
SELF_LOOP_PROBABILITY = 0.75  # gen_topo.pl; the first alignments re-estimate it

State = tuple[tuple[int, float], ...]  # (next state, initial probability), in the order of the transition ids


def left_to_right(num_states: int) -> tuple[State, ...]:
    """Return a topology whose states repeat or go to the next (Bakis without skips): at least `num_states` frames."""
    return tuple(((s, SELF_LOOP_PROBABILITY), (s + 1, 1.0 - SELF_LOOP_PROBABILITY)) for s in range(num_states))


def silence_states(num_states: int) -> tuple[State, ...]:
    """Return the topology of silence, whose inner states are fully connected to fit noises of any length.

    State 0 leads to every state but the last, inner states to every state but the first; the last state stays or
    ends. A silence takes 3 frames at least: first, one inner, last.
    """
    if num_states < 3:
        return left_to_right(num_states)
    share = 1.0 / (num_states - 1)
    first = tuple((s, share) for s in range(num_states - 1))
    inner = tuple((s, share) for s in range(1, num_states))
    last = left_to_right(num_states)[-1]
    return (first, *(inner for _ in range(num_states - 2)), last)


@dataclass(frozen=True)
class Topology:
    """States of every phone. `phones` maps a phone id (1-based) to its states."""

    phones: dict[int, tuple[State, ...]]

    def __post_init__(self) -> None:
        for phone, states in self.phones.items():
            for s, state in enumerate(states):
                if not any(next_state == s for next_state, _ in state):
                    raise ValueError(f"topology: state {s} of phone {phone} has no self-loop; every state needs one")
                if abs(sum(p for _, p in state) - 1.0) > 1e-6:
                    raise ValueError(f"topology: the probabilities of state {s} of phone {phone} do not sum to 1")
                if any(not 0 <= next_state <= len(states) for next_state, _ in state):
                    raise ValueError(f"topology: state {s} of phone {phone} leads outside 0..{len(states)}")

    @classmethod
    def of_phones(
        cls,
        silence_phones: list[int],
        nonsilence_phones: list[int],
        num_silence_states: int = NUM_SILENCE_STATES,
        num_nonsilence_states: int = NUM_NONSILENCE_STATES,
    ) -> "Topology":
        """Return Kaldi's usual topology for the given phone ids."""
        silence = silence_states(num_silence_states)
        speech = left_to_right(num_nonsilence_states)
        phones = {phone: silence for phone in silence_phones} | {phone: speech for phone in nonsilence_phones}
        return cls(dict(sorted(phones.items())))

    def num_states(self, phone: int) -> int:
        """Return emitting states of `phone`."""
        return len(self.phones[phone])

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-like value; `from_json` reads it back."""
        return {str(phone): states for phone, states in self.phones.items()}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Topology":
        """Return the inverse of `to_json`."""
        return cls({int(p): tuple(tuple((int(n), float(q)) for n, q in s) for s in v) for p, v in value.items()})
