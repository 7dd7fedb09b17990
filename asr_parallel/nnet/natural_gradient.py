"""Online natural gradient: the low-rank estimate of the Fisher matrix of one side of a layer, and its inverse applied.

Povey, Zhang & Khudanpur, "Parallel training of DNNs with Natural Gradient and Parameter Averaging" (arXiv 1410.7455);
constants and order of things as in Kaldi's nnet3/natural-gradient-online.cc.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

NUM_INITIAL_UPDATES = 10  # calls after the first that always update, whatever the period; Kaldi, Updating()
INITIAL_PASSES = 3  # over the first minibatch, from the arbitrary start; Kaldi, Init()
ETA_LIMIT = 0.9  # Kaldi, Eta(): never forget nearly all
FIRST_ELEMENT = 1.1  # of each row of the starting R, relative to its others; Kaldi, InitOrthonormalSpecial()

# An eigenvalue of Z this small beside the greatest belongs to a direction made of rounding errors: Z is quadratic in
# Y, and 3e-6 is some thirty roundings of float32.
NOISE = 1e-11


@dataclass(frozen=True, slots=True)
class Preconditioned:
    """What is left of a minibatch.

    y (R, N, columns of x), of the type of x. one (R, N, 1): what is left of the appended 1, None where there is none.
    scale (R,) float32: scale * (y, one) has the Frobenius norm of (x, 1).
    """

    y: Tensor
    one: Tensor | None
    scale: Tensor


@dataclass(frozen=True, slots=True)
class _Update:
    """What an update of the estimate needs from one minibatch; everything in units of `unit` = tr(T)."""

    eta: float
    unit: Tensor  # (R,) float64
    Y: Tensor  # (R, K, D) float32
    Z: Tensor  # (R, K, K) float64, the identity where Y is not finite


class OnlineNaturalGradient:
    """Preconditions minibatches of row vectors by the inverse of a smoothed, slowly moving Fisher matrix.

    `replicas` independent estimates are kept and moved in the same batched calls.

        here        paper     meaning
        x           X_t       a minibatch, N rows of dimension D (activations with a 1 appended, or derivatives)
        y           X^_t      what is left of it; scale * y is the paper's X-_t
        scale       gamma_t   makes the Frobenius norm of scale * y that of x
        R           R_t       (K, D) orthonormal rows: the K directions known separately
        d           D_t       (K,) their variance above the rest
        rho         rho_t     variance of every other direction
        F           F_t       R^T D R + rho I, the estimate
        S           S_t       x^T x / N
        T           T_t       eta S + (1 - eta) F, what the next F approximates
        eta         eta       1 - exp(-N / num_samples_history), at most 0.9
        alpha       alpha     smoothing: G = F + alpha tr(F)/D I is what is inverted
        beta        beta_t    rho + alpha tr(F)/D, so that G = R^T D R + beta I
        e           E_t       1 / (beta/d + 1)
        W           W_t       E^(1/2) R, which is stored instead of R
        H, J        H_t, J_t  x W^T, H^T x
        Y           Y_t       R T = E^(-1/2) [eta/N J + (1 - eta) (D + rho) W]
        Z, c, U     Z_t, C_t, U_t   Y Y^T = U C U^T

    (In shapes, K is the rank and R the number of replicas.)

    Applying. R has orthonormal rows, so G has eigenvalue beta + d_i along its rows and beta elsewhere, and
    beta G^-1 = I - R^T diag(d / (beta + d)) R = I - W^T W. Hence y = x - H W: two thin products, no inverse. The factor
    1/beta is of no concern since the result is scaled to the norm of x.

    Updating. R T is one step of subspace iteration towards the greatest K eigenvectors of T. With Y Y^T = U C U^T,
    C^(-1/2) U^T Y has orthonormal rows and spans the same space: it is the next R. As T R^T ~ R^T C^(1/2), the variance
    of T along row i is about c_i^(1/2): the next F has rho + d_i there. rho takes what remains of the trace,
    (tr(T) - sum c^(1/2)) / (D - K), so tr(F) = tr(T). Then rho and d are kept above delta max(c^(1/2)) and epsilon.
    Everything small is in float64 and relative to tr(T), which takes the fourth powers of the data out of Z.

    The paper assembles Z from K = J J^T and L = H^T H, taking W W^T = E for granted, and now and then orthonormalises R
    anew. Here Z is the product of the very Y, in float64: the next R is orthonormal whatever errors W has gathered.

    Directions of noise. With fewer rows than K, or after a jump of scale, Y has fewer than K directions in it and the
    rest of its space is rounding error. Kaldi orthonormalises that error and keeps it as directions; here fixed
    pseudo-random ones take its place, so that results depend on the data and not on the order of sums. Either way they
    start with the least variance and turn to where there is more.

    A replica whose next estimate is not finite (an input with NaN, an overflow) keeps the one it has; its y and scale
    are then not finite either, and the caller's to leave out. On a GPU, calls that do not update never wait for it; of
    those that do, only the eigen-decomposition may. Products in TF32 would need a greater NOISE.
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

        Args:
            with_one: every row ends with a 1 that x leaves out: x has dim - 1 columns.
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
        self.dim, self.rank = dim, min(rank, dim - 1)
        self.update_period = update_period
        self.num_samples_history = num_samples_history
        self.alpha, self.epsilon, self.delta = alpha, epsilon, delta
        self.with_one = with_one
        self.t = 0  # calls so far

        start = _starting_directions(self.rank, dim) / math.sqrt(2 + alpha * (dim + self.rank) / dim)
        self.W = start.repeat(replicas, 1, 1).to(device)
        self.rho = torch.full((replicas,), epsilon, device=device)
        self.d = torch.full((replicas, self.rank), epsilon, device=device)
        self._thin: dict[torch.dtype, tuple[Tensor, Tensor | None]] = {}  # what _apply multiplies with
        random = torch.Generator().manual_seed(0)
        self._spare = (torch.randn(self.rank, dim, generator=random) / math.sqrt(dim)).to(device)

    def precondition(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Take (R, N, dim) x, float32 or bfloat16, into account and return y, of x's shape and type, and (R,) scale.

        scale * y is the preconditioned minibatch; x is not changed. With `with_one` y has a column more than x.
        ValueError for another shape or type.
        """
        done = precondition_together([self], [x])[0]
        return (done.y if done.one is None else torch.cat([done.y, done.one], dim=2)), done.scale

    def state(self) -> dict[str, Tensor]:
        """Copies of W (R, K, D), rho (R,), d (R, K) float32 and t () int64: all that the next calls depend on."""
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
        self._thin.clear()

    def _check(self, x: Tensor) -> None:
        replicas, columns = len(self.W), self.dim - self.with_one
        if x.dim() != 3 or x.shape[0] != replicas or x.shape[1] < 1 or x.shape[2] != columns:
            raise ValueError(
                f"natural gradient: input of shape {tuple(x.shape)}; expected ({replicas}, one or more, {columns})"
            )
        if x.dtype not in (torch.float32, torch.bfloat16):
            raise ValueError(f"natural gradient: input of {x.dtype}; expected torch.float32 or torch.bfloat16")

    def _updating(self) -> bool:
        due = self.t <= NUM_INITIAL_UPDATES or (self.t - NUM_INITIAL_UPDATES) % self.update_period == 0
        return due and self.rank > 0

    def _initial_passes(self, num_rows: int) -> int:
        """Updates on the first minibatch before it is preconditioned; more do not help when K rows cannot span K."""
        if self.t > 0 or self.rank == 0:
            return 0
        return 1 if num_rows <= self.rank else INITIAL_PASSES

    def _apply(self, x: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """y, what is left of the appended 1, and H, all of the type of x."""
        if x.dtype not in self._thin:
            W = self.W.to(x.dtype)
            of_one = W[:, :, -1:].mT if self.with_one else None
            self._thin[x.dtype] = (W[:, :, :-1].contiguous() if self.with_one else W, of_one)
        W, of_one = self._thin[x.dtype]
        if of_one is None:
            H = x @ W.mT
            return torch.baddbmm(x, H, W, alpha=-1), None, H
        H = torch.baddbmm(of_one, x, W.mT)
        return torch.baddbmm(x, H, W, alpha=-1), 1 - H @ of_one.mT, H

    def _collect(self, x: Tensor, H: Tensor, squares: Tensor) -> _Update:
        """From x (R, N, D), H (R, N, K) and tr(x x^T) (R,), the appended 1 counted there."""
        num_rows = x.shape[1]
        eta = min(1 - math.exp(-num_rows / self.num_samples_history), ETA_LIMIT)
        rho, d = self.rho.double(), self.d.double()
        unit = eta / num_rows * squares.double() + (1 - eta) * (self.dim * rho + d.sum(1))
        new = self._e(rho, d).rsqrt() / unit[:, None]
        old = (1 - eta) * (d + rho[:, None]) * new
        scaled_H = H * (eta / num_rows * new).to(H.dtype)[:, None, :]
        scaled_J = (scaled_H.mT @ x).float()
        if self.with_one:
            scaled_J = torch.cat([scaled_J, scaled_H.sum(1, dtype=torch.float32)[:, :, None]], dim=2)
        Y = torch.addcmul(scaled_J, old.float()[:, :, None], self.W)
        wide = Y.double()
        Z = wide @ wide.mT
        finite = Z.sum((1, 2)).isfinite()
        eye = torch.eye(self.rank, dtype=Z.dtype, device=Z.device)
        return _Update(eta, unit, Y, torch.where(finite[:, None, None], Z, eye))

    def _adopt(self, update: _Update, c: Tensor, U: Tensor) -> None:
        """The next W, rho and d from c (R, K) and U (R, K, K), in ascending order, of the update's Z."""
        c, U, unit = c.flip(1), U.flip(2), update.unit[:, None]
        floor = ((1 - update.eta) * self.rho.double()[:, None] / unit) ** 2
        deviation = torch.maximum(c, floor).sqrt()
        rho = (1 - deviation.sum(1, keepdim=True)) / (self.dim - self.rank)
        d = deviation - rho
        least = torch.maximum(self.delta * deviation[:, :1], self.epsilon / unit)
        rho, d = (unit * torch.maximum(rho, least))[:, 0], unit * torch.maximum(d, least)

        noise = c <= NOISE * c[:, :1]
        of_Y = U.mT * c.clamp(min=torch.finfo(c.dtype).tiny).rsqrt()[:, :, None]
        root_e = self._e(rho, d).sqrt()[:, :, None]
        if noise.device.type == "cpu" and not noise.any():  # elsewhere looking would mean waiting
            W, orthonormal = (root_e * of_Y).float() @ update.Y, torch.ones(len(c), dtype=torch.bool)
        else:
            R, orthonormal = self._replace(of_Y @ update.Y.double(), noise)
            W = (root_e * R).float()
        rho, d = rho.float(), d.float()

        good = orthonormal & (W.sum((1, 2)) + d.sum(1) + rho).isfinite()
        self.W = torch.where(good[:, None, None], W, self.W)
        self.rho = torch.where(good, rho, self.rho)
        self.d = torch.where(good[:, None], d, self.d)
        self._thin.clear()

    def _replace(self, R: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """R (R, K, D), orthonormal but for the rows where noise (R, K), with other rows there; and whether it worked.

        The rows of noise come last, so that the others stay as they are.
        """
        R = torch.where(noise[:, :, None], self._spare.double(), R)
        lower, failed = torch.linalg.cholesky_ex(R @ R.mT)
        R = torch.where(noise[:, :, None], torch.linalg.solve_triangular(lower, R, upper=False), R)
        return R, failed == 0

    def _e(self, rho: Tensor, d: Tensor) -> Tensor:
        beta = rho * (1 + self.alpha) + self.alpha / self.dim * d.sum(1)
        return 1 / (beta[:, None] / d + 1)


def precondition_together(
    preconditioners: Sequence[OnlineNaturalGradient], inputs: Sequence[Tensor]
) -> list[Preconditioned]:
    """What each makes of its input, with one batched eigen-decomposition for each rank."""
    pairs = list(zip(preconditioners, inputs, strict=True))
    for preconditioner, x in pairs:
        preconditioner._check(x)
    squares = [_sum_of_squares(x) + x.shape[1] * preconditioner.with_one for preconditioner, x in pairs]

    for turn in range(INITIAL_PASSES):
        updates = []
        for (preconditioner, x), trace in zip(pairs, squares, strict=True):
            if turn < preconditioner._initial_passes(x.shape[1]):
                _, _, H = preconditioner._apply(x)
                updates.append((preconditioner, preconditioner._collect(x, H, trace)))
        _update(updates)

    results, updates = [], []
    for (preconditioner, x), trace in zip(pairs, squares, strict=True):
        y, one, H = preconditioner._apply(x)
        if preconditioner._updating():
            updates.append((preconditioner, preconditioner._collect(x, H, trace)))
        left = _sum_of_squares(y) if one is None else _sum_of_squares(y) + _sum_of_squares(one)
        scale = torch.where((trace == 0) | (left == 0), 1.0, (trace / left).sqrt())
        results.append(Preconditioned(y, one, scale))
        preconditioner.t += 1
    _update(updates)
    return results


def _update(updates: Sequence[tuple[OnlineNaturalGradient, _Update]]) -> None:
    by_rank = defaultdict(list)
    for preconditioner, update in updates:
        by_rank[preconditioner.rank].append((preconditioner, update))
    for group in by_rank.values():
        c, U = torch.linalg.eigh(torch.cat([update.Z for _, update in group]))
        sizes = [len(update.Z) for _, update in group]
        for (preconditioner, update), own_c, own_U in zip(group, c.split(sizes), U.split(sizes), strict=True):
            preconditioner._adopt(update, own_c, own_U)


def _sum_of_squares(x: Tensor) -> Tensor:
    """(R, N, D) -> (R,) float32, row by row: more exact than one long sum, and without a copy of x."""
    return torch.linalg.vector_norm(x, dim=2, dtype=torch.float32).square().sum(1)


def _starting_directions(rank: int, dim: int) -> Tensor:
    """(rank, dim) orthonormal, row r not zero in columns r, r + rank, r + 2 rank, ...: no column is left out."""
    R = torch.zeros(rank, dim)
    for r in range(rank):
        R[r, r::rank] = 1.0
        R[r, r] = FIRST_ELEMENT
    return torch.nn.functional.normalize(R, dim=1)
