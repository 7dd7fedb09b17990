"""Schedules of the learning rate, and the end of training.

The unit is the frame, summed over all workers, so that a schedule means the same whatever the number of workers and
the size of the minibatch. A rate is per frame: the step for a gradient summed over a minibatch.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from asr_parallel.parallel.state import State

# Kaldi steps/nnet3/train_dnn.py
INITIAL_EFFECTIVE_RATE = 3e-4
FINAL_EFFECTIVE_RATE = 3e-5

# Kaldi steps/nnet/train_scheduler.sh
START_HALVING = 0.01  # relative improvement under which halving starts
END_HALVING = 0.001  # relative improvement under which, once halving, training ends
HALVING_FACTOR = 0.5
MAX_EPOCHS = 20
MIN_EPOCHS = 0
KEEP_EPOCHS = 0
NEWBOB_STATE = {"rate": float, "first_rate": float, "best_loss": float, "epoch": int, "halving": bool, "ended": bool}


class Schedule(Protocol):
    """The interface of a schedule."""

    @property
    def total_frames(self) -> int | None:
        """Frames after which training ends; None where the held-out loss decides."""

    @property
    def finished(self) -> bool:
        """True when training is over, as of the last end_epoch()."""

    def learning_rate(self, frames: int) -> float:
        """Return rate per frame to go on with after `frames` frames over all workers."""

    def new_round(self, frames: int, round_frames: int) -> None:
        """Start a round after `frames` frames: `round_frames`, over all workers, until they synchronize."""

    def end_epoch(self, frames: int, held_out_loss: float) -> bool:
        """Take in the held-out loss after an epoch (and after the last frames of all).

        Returns:
            Whether the epoch's model is accepted; a rejected one is to be replaced by the best so far. One whose loss
            is not finite never is.
        """

    def state_dict(self) -> State:
        """Return JSON values by which a schedule goes on identically."""

    def load_state_dict(self, state: State) -> None:
        """Go on where another schedule, made with the same arguments, was; ValueError if it is of another kind."""


@dataclass(kw_only=True)
class _Planned:
    """A schedule laid down before training: every epoch with a finite loss is accepted.

    total_frames: where training ends, in frames over all workers.
    """

    total_frames: int
    _frames: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        _check_frames("total_frames", self.total_frames)

    @property
    def finished(self) -> bool:
        return self._frames >= self.total_frames

    def new_round(self, frames: int, round_frames: int) -> None:
        pass

    def end_epoch(self, frames: int, held_out_loss: float) -> bool:
        assert frames >= self._frames, (frames, self._frames)
        self._frames = frames
        return math.isfinite(held_out_loss)

    def state_dict(self) -> State:
        return State(values={"schedule": type(self).__name__, "frames": self._frames})

    def load_state_dict(self, state: State) -> None:
        self._frames = _checked(state, type(self).__name__, {"frames": int})["frames"]


@dataclass(kw_only=True)
class Constant(_Planned):
    """A constant rate."""

    rate: float

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_rates(self, "rate")

    def learning_rate(self, frames: int) -> float:
        return self.rate


@dataclass(kw_only=True)
class Exponential(_Planned):
    """The rate moves from the initial to the final one by equal factors for equal numbers of frames.

    Averaging the parameters of num_jobs workers divides what each has learnt by num_jobs. The rate that counts is
    therefore the effective one; each worker's actual rate is num_jobs times it. Kaldi (get_learning_rate in
    steps/libs/nnet3/train/common.py) holds it over an iteration; here it moves with every frame. Like there, a final
    rate above the initial one is allowed.
    """

    num_jobs: float = 1
    initial_effective_rate: float = INITIAL_EFFECTIVE_RATE
    final_effective_rate: float = FINAL_EFFECTIVE_RATE

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_rates(self, "initial_effective_rate", "final_effective_rate", "num_jobs")

    def effective_rate(self, frames: int) -> float:
        """Return rate per frame of the averaged model after `frames` frames; the final one from total_frames on."""
        return _decay(self.initial_effective_rate, self.final_effective_rate, frames / self.total_frames)

    def learning_rate(self, frames: int) -> float:
        return self.num_jobs * self.effective_rate(frames)


@dataclass(kw_only=True)
class Cyclical(_Planned):
    """The rate falls from the top to the bottom one within each cycle and starts again at the top in the next.

    A cycle is what the workers do between two averagings: they leave the averaged model in large steps and settle
    before the next. Xu et al., "Collaborative Deep Learning Across Multiple Data Centers" (arXiv 1810.06877), propose
    such restarts for co-learning. The shape is "exponential" (equal factors for equal numbers of frames, as in
    Exponential) or "cosine" (half a period: Loshchilov and Hutter, "SGDR", arXiv 1608.03983, equation 5).
    The rates have no default: they depend on the network.

    cycle_frames: of every cycle; None: a cycle is a round, of which new_round() tells.
    """

    top: float
    bottom: float
    cycle_frames: int | None
    shape: Literal["exponential", "cosine"] = "exponential"
    _began: int = field(default=0, init=False)  # the cycle under way, when it follows the rounds
    _round_frames: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_rates(self, "top", "bottom")
        _check_frames("cycle_frames", 1 if self.cycle_frames is None else self.cycle_frames)
        if self.bottom > self.top:
            raise ValueError(f"bottom {self.bottom}: expected at most the top rate, {self.top}")
        if self.shape not in ("exponential", "cosine"):
            raise ValueError(f"shape {self.shape!r}: expected exponential or cosine")

    def learning_rate(self, frames: int) -> float:
        if self.cycle_frames is None:
            assert self._round_frames, "a round has begun"
            share = min(1.0, (frames - self._began) / self._round_frames)
        else:
            share = frames % self.cycle_frames / self.cycle_frames
        if self.shape == "exponential":
            return _decay(self.top, self.bottom, share)
        weight = (1 + math.cos(math.pi * share)) / 2
        return _between(self.top, self.bottom, weight * self.top + (1 - weight) * self.bottom)

    def new_round(self, frames: int, round_frames: int) -> None:
        self._began, self._round_frames = frames, round_frames

    def state_dict(self) -> State:
        own = {"began": self._began, "round_frames": self._round_frames}
        return State(values={**super().state_dict().values, **own})

    def load_state_dict(self, state: State) -> None:
        values = _checked(state, "Cyclical", {"frames": int, "began": int, "round_frames": int})
        self._frames, self._began, self._round_frames = values["frames"], values["began"], values["round_frames"]


@dataclass(kw_only=True)
class Newbob:
    """Hold the rate, then halve it after every epoch, then end, by the loss on held-out data.

    The rules are those of Kaldi's steps/nnet/train_scheduler.sh. An epoch that does not improve on the best is
    rejected; an improvement under 1 % starts the halving; one under 0.1 % ends the training once halving.

    rate: at first.
    best_loss: the held-out loss to improve on, at first the untrained network's.
    max_epochs: training ends after so many at the latest.
    min_epochs: so many are trained at least, and accepted whatever they bring.
    keep_epochs: so many first ones are accepted whatever they bring, at the full rate.
    halve_from: after this epoch halving starts at the latest. For data whose held-out part is too like the rest to
        tell when to: the same few speakers.
    """

    rate: float
    best_loss: float
    max_epochs: int = MAX_EPOCHS
    min_epochs: int = MIN_EPOCHS
    keep_epochs: int = KEEP_EPOCHS
    halve_from: int | None = None
    epoch: int = field(default=0, init=False)
    first_rate: float = field(init=False)  # as given
    halving: bool = field(default=False, init=False)
    ended: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        _check_rates(self, "rate")
        self.first_rate = self.rate
        if not math.isfinite(self.best_loss):
            raise ValueError(f"best_loss {self.best_loss}: expected a finite number")
        for name in ("max_epochs", "min_epochs", "keep_epochs", "halve_from"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ValueError(f"{name} {value}: expected a number of at least 0")
        if self.min_epochs > self.max_epochs:
            raise ValueError(f"min_epochs {self.min_epochs}: expected at most max_epochs, {self.max_epochs}")

    @property
    def total_frames(self) -> None:
        return None

    @property
    def finished(self) -> bool:
        return self.ended or self.epoch >= self.max_epochs

    def learning_rate(self, frames: int) -> float:
        return self.rate

    def new_round(self, frames: int, round_frames: int) -> None:
        pass

    def end_epoch(self, frames: int, held_out_loss: float) -> bool:
        self.epoch += 1
        keep_rate = self.epoch <= self.keep_epochs
        keep = keep_rate or self.epoch <= self.min_epochs
        accepted = math.isfinite(held_out_loss) and (keep or held_out_loss < self.best_loss)
        before = self.best_loss
        if accepted:
            self.best_loss = held_out_loss
        if keep_rate:
            return accepted
        improvement = (before - self.best_loss) / before if before else 0.0
        if self.halving and improvement < END_HALVING:
            self.ended = self.epoch > self.min_epochs
            return accepted  # without halving once more, should min_epochs forbid to end
        due = self.halve_from is not None and self.epoch >= self.halve_from
        self.halving = self.halving or improvement < START_HALVING or due
        if self.halving:
            self.rate *= HALVING_FACTOR
        return accepted

    def state_dict(self) -> State:
        return State(values={"schedule": "Newbob", **{name: getattr(self, name) for name in NEWBOB_STATE}})

    def load_state_dict(self, state: State) -> None:
        values = _checked(state, "Newbob", NEWBOB_STATE)
        self.best_loss, self.epoch = values["best_loss"], values["epoch"]
        self.rate = self.first_rate * (values["rate"] / values["first_rate"])  # a power of two: halved as often
        self.halving, self.ended = values["halving"], values["ended"]


def _decay(first: float, last: float, share: float) -> float:
    """Return first * (last/first)^share, exact at both ends, and the last from share 1 on."""
    return last if share >= 1 else _between(first, last, first * (last / first) ** share)


def _between(first: float, last: float, value: float) -> float:
    """Clip `value`, which rounding may have put outside the two."""
    return min(max(first, last), max(min(first, last), value))


def _checked(state: State, schedule: str, kinds: Mapping[str, type]) -> Mapping[str, Any]:
    """Return the values of a state if they are those of this schedule."""
    values = state.values
    if values.get("schedule") != schedule:
        raise ValueError(f"state of the learning-rate schedule {values.get('schedule')}: expected {schedule}")
    if any(type(values.get(name)) is not kind for name, kind in kinds.items()):
        raise ValueError(f"state of the learning-rate schedule {schedule}: expected {', '.join(kinds)}")
    return values


def _check_rates(schedule: Any, *names: str) -> None:
    for name in names:
        if not 0 < getattr(schedule, name) < math.inf:  # nor a number that is none
            raise ValueError(f"{name} {getattr(schedule, name)}: expected a finite number above 0")


def _check_frames(name: str, count: int) -> None:
    if count < 1:
        raise ValueError(f"{name} {count}: expected a number of at least 1")
