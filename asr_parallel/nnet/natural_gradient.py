"""Online natural gradient: minibatches preconditioned by the inverse of an estimated Fisher matrix that follows them.

Povey, Zhang & Khudanpur, "Parallel training of DNNs with Natural Gradient and Parameter Averaging" (arXiv 1410.7455);
constants and order of things as in Kaldi's nnet3/natural-gradient-online.cc. The mathematics is in nnet/fisher.py.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, islice

import torch
from torch import Tensor

from asr_parallel.nnet.fisher import FisherEstimate, Processed
from asr_parallel.nnet.products import Add

NUM_INITIAL_UPDATES = 10  # calls after the first that always update, whatever the period; Kaldi, Updating()
INITIAL_PASSES = 3  # over the first minibatch, from the arbitrary start; Kaldi, Init()


@dataclass(frozen=True, slots=True)
class Preconditioned:
    """A preconditioned minibatch.

    y (R, N, columns of x), of the type of x and in its memory. one (R, N, 1): the preconditioned appended 1, None
    where there is none. scale (R,) float32: scale * (y, one) has the Frobenius norm of (x, 1).
    """

    y: Tensor
    one: Tensor | None
    scale: Tensor


class OnlineNaturalGradient(FisherEstimate):
    """Preconditions minibatches of row vectors by the inverse of a smoothed Fisher matrix, and moves it now and then.

    A replica whose minibatch has NaN or overflows keeps its estimate; its y and scale are not finite and the caller's
    to leave out. On a GPU, calls that do not update never wait for it; of those that do, only the eigen-decomposition
    may.
    """

    def __init__(
        self,
        replicas: int,
        dim: int,
        rank: int = 40,  # this and all below: Kaldi. Cut to dim - 1; with dim 1 that is 0, and y = x
        update_period: int = 1,  # calls
        num_samples_history: float = 2000.0,  # rows
        alpha: float = 4.0,
        epsilon: float = 1e-10,
        delta: float = 5e-4,
        with_one: bool = False,
        device: torch.device | str = "cpu",
    ) -> None:
        """Start from an estimate that knows nothing.

        With with_one every row ends with a 1 that x leaves out: x has dim - 1 columns.
        """
        if min(replicas, dim, rank, update_period) < 1:
            raise ValueError(
                f"natural gradient: replicas {replicas}, dim {dim}, rank {rank}, update_period {update_period}:"
                " expected positive numbers"
            )
        if not (num_samples_history > 0 and alpha >= 0 and 0 < epsilon <= 1e-5 and 0 < delta <= 1e-2):
            raise ValueError(
                f"natural gradient: num_samples_history {num_samples_history}, alpha {alpha}, epsilon {epsilon}, delta"
                f" {delta}: expected > 0, >= 0, in (0, 1e-5] and in (0, 1e-2]"
            )
        super().__init__(replicas, dim, rank, num_samples_history, alpha, epsilon, delta, with_one, device)
        self.update_period = update_period
        self.t = 0  # calls so far

    def precondition(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Take (R, N, dim) x, float32 or bfloat16, into account and return y, of x's shape and type, and (R,) scale.

        scale * y is the preconditioned minibatch; x is not changed. With `with_one` y has a column more than x.
        ValueError for another shape or type.
        """
        done = precondition_together([self], [[x.clone()]])[0][0]
        return (done.y if done.one is None else torch.cat([done.y, done.one], dim=2)), done.scale

    def state(self) -> dict[str, Tensor]:
        """Return copies of W (R, K, D), rho (R,), d (R, K) float32 and t () int64: the whole state."""
        return {
            "W": self.W.clone(),
            "rho": self.rho.clone(),
            "d": self.d.clone(),
            "t": torch.tensor(self.t, dtype=torch.int64),
        }

    def restore(self, state: dict[str, Tensor]) -> None:
        """Continue bit-identically from what state() returned. ValueError when it is of other names or shapes."""
        mine = self.state()
        if state.keys() != mine.keys():
            raise ValueError(f"natural gradient: state of {sorted(state)}; expected {sorted(mine)}")
        for name, tensor in mine.items():
            if state[name].shape != tensor.shape:
                raise ValueError(
                    f"natural gradient: {name} of shape {tuple(state[name].shape)}; expected {tuple(tensor.shape)}"
                )
        self.W, self.rho, self.d = (state[name].to(mine[name], copy=True) for name in ("W", "rho", "d"))
        self.t = int(state["t"])
        self._forget_low()

    def _check(self, xs: Sequence[Tensor], least: int) -> None:
        replicas, columns = self.W.size(0), self.dim - self.with_one
        found = sum(x.size(0) for x in xs)
        for x in xs:
            if (
                x.dim() != 3
                or found != replicas
                or x.shape[1] != xs[0].shape[1]
                or x.shape[1] < least
                or x.shape[2] != columns
            ):
                raise ValueError(
                    f"natural gradient: input of shape {tuple(x.shape)}; expected ({replicas}, one or more, {columns})"
                )
            if x.dtype not in (torch.float32, torch.bfloat16):
                raise ValueError(f"natural gradient: input of {x.dtype}; expected torch.float32 or torch.bfloat16")

    def _updating(self) -> bool:
        due = self.t <= NUM_INITIAL_UPDATES or (self.t - NUM_INITIAL_UPDATES) % self.update_period == 0
        return due and self.rank > 0

    def _initial_passes(self, num_rows: int) -> int:
        """Return the number of updates on the first minibatch before it is preconditioned; with few rows one."""
        if self.t > 0 or self.rank == 0:
            return 0
        return 1 if num_rows <= self.rank else INITIAL_PASSES

    def _parts(self, xs: Sequence[Tensor]) -> list[tuple[Tensor, slice]]:
        """Return the xs and which estimates they belong to."""
        ends = list(accumulate(x.size(0) for x in xs))
        return [(x, slice(end - x.size(0), end)) for x, end in zip(xs, ends, strict=True)]

    def _examine(self, xs: Sequence[Tensor]) -> Tensor:
        """Return J of a minibatch; the xs are left alone."""
        J = self.W.new_empty(self.W.shape)
        for x, part in self._parts(xs):
            self.correlate(x, self.project(x, part), out=J[part])
        return J

    def _process(self, xs: Sequence[Tensor]) -> tuple[list[Processed], Tensor | None]:
        """Make every x its y; return what it was and is, and J if it is time for an update."""
        J = self.W.new_empty(self.W.shape) if self._updating() else None
        self.t += 1
        return [self.process(x, part, None if J is None else J[part]) for x, part in self._parts(xs)], J


def precondition_together(
    preconditioners: Sequence[OnlineNaturalGradient],
    inputs: Sequence[Sequence[Tensor]],
    add: Add | None = None,
    rows: Sequence[int] | None = None,
) -> list[list[Preconditioned]]:
    """Precondition inputs in their memory; on a GPU with one batched eigen-decomposition for each rank.

    Args:
        preconditioners: one or more, whose estimates move.
        inputs: for each preconditioner the minibatches of its estimates, in their order: tensors (R, N, columns) of one
            type whose R add up to its `replicas`. They are overwritten.
        add: replaces a tensor of sums over rows by their sum over all processes, where the rows of a minibatch are in
            several; estimates and scales are then the same in all of them, those of the whole minibatch.
        rows: for each preconditioner those of all processes, required with `add`; a process may have none. Without
            `add` they are those of the inputs.
    """
    for own, xs in zip(preconditioners, inputs, strict=True):
        own._check(xs, 0 if add else 1)
    if add is None:
        rows = [xs[0].shape[1] for xs in inputs]
    assert rows is not None
    tasks = list(zip(preconditioners, inputs, rows, strict=True))
    _pass_initially(tasks, add)

    done = [own._process(xs) for own, xs, _ in tasks]
    processed = [one for of_own, _ in done for one in of_own]
    before, after = (_summed([getattr(one, name) for one in processed], add) for name in ("before", "after"))
    squares = before.split([own.rho.size(0) for own in preconditioners])
    _update(
        [
            (own, J, of_own, count)
            for (own, _, count), (_, J), of_own in zip(tasks, done, squares, strict=True)
            if J is not None
        ],
        add,
    )
    ratio = torch.where((before == 0) | (after == 0), 1.0, (before / after).sqrt())
    everything = [x for xs in inputs for x in xs]
    scales = ratio.split([x.size(0) for x in everything])
    result = iter(
        [Preconditioned(x, own.one, scale) for x, own, scale in zip(everything, processed, scales, strict=True)]
    )
    return [list(islice(result, len(xs))) for xs in inputs]


def _pass_initially(tasks: Sequence[tuple[OnlineNaturalGradient, Sequence[Tensor], int]], add: Add | None) -> None:
    """Move estimates that know nothing over their first minibatch, which is left alone."""
    passes = [own._initial_passes(count) for own, _, count in tasks]
    if not any(passes):
        return
    squares = [_summed([own.squares(x) for x in xs], add) for own, xs, _ in tasks]
    for turn in range(INITIAL_PASSES):
        _update(
            [
                (own, own._examine(xs), of_own, count)
                for (own, xs, count), of_own, own_passes in zip(tasks, squares, passes, strict=True)
                if turn < own_passes
            ],
            add,
        )


def _summed(squares: Sequence[Tensor], add: Add | None) -> Tensor:
    """Return sums of squares as one tensor, over the rows of all processes."""
    together = torch.cat(list(squares))
    if add is not None:
        add(together)
    return together


def _update(moving: Sequence[tuple[OnlineNaturalGradient, Tensor, Tensor, int]], add: Add | None) -> None:
    """Move estimates by their J, sums of squares and numbers of rows of a minibatch."""
    if add is not None and moving:
        together = torch.cat([J.flatten() for _, J, _, _ in moving])
        add(together)
        for (_, J, _, _), of_all in zip(moving, together.split([J.numel() for _, J, _, _ in moving]), strict=True):
            J.copy_(of_all.view_as(J))
    by_rank = defaultdict(list)
    for preconditioner, J, squares, rows in moving:
        if not preconditioner.update(J, squares, rows):
            by_rank[preconditioner.rank].append((preconditioner, preconditioner.toward(J, squares, rows)))
    for group in by_rank.values():
        c, U = torch.linalg.eigh(torch.cat([update.Z for _, update in group]))
        sizes = [len(update.Z) for _, update in group]
        for (preconditioner, update), own_c, own_U in zip(group, c.split(sizes), U.split(sizes), strict=True):
            preconditioner.adopt(update, own_c, own_U)
