"""A low-rank estimate of the Fisher matrix of one side of a layer, its inverse applied to rows, and its updates.

Povey, Zhang & Khudanpur, "Parallel training of DNNs with Natural Gradient and Parameter Averaging" (arXiv 1410.7455);
constants and order of things as in Kaldi's nnet3/natural-gradient-online.cc.
"""

import copy
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from asr_parallel.nnet import brgemm, fisher_kernels
from asr_parallel.nnet.bfloat16 import bits
from asr_parallel.nnet.blas import FAST_TYPES, HAS_EIGH, eigh_work
from asr_parallel.nnet.kernels import ones_left
from asr_parallel.nnet.products import add_product, product, sums_of_squares

ETA_LIMIT = 0.9  # Kaldi, Eta(): never forget nearly all
FIRST_ELEMENT = 1.1  # of each row of the starting R, relative to its others; Kaldi, InitOrthonormalSpecial()

# An eigenvalue of Z this small beside the greatest belongs to a direction made of rounding errors: Z is quadratic in
# Y, and 3e-6 is some thirty roundings of float32.
NOISE = 1e-11

ROWS_AT_ONCE = 64  # of bfloat16, in pairs: with 656 columns their float32 products take 168 KiB of cache


@dataclass(frozen=True, slots=True)
class Update:
    """Statistics of a minibatch for an update of the estimate, in units of `unit` = tr(T)."""

    eta: float
    unit: Tensor  # (R,) float64
    Y: Tensor  # (R, K, D) float64
    Z: Tensor  # (R, K, K) float64, the identity where Y is not finite


@dataclass(frozen=True, slots=True)
class Processed:
    """A minibatch that was made its y: what was appended to it, (R, N, 1) float32 or None, and sums of squares (R,).

    before, after: of x and of y, with what was appended to them.
    """

    one: Tensor | None
    before: Tensor
    after: Tensor


class FisherEstimate:
    """A smoothed, slowly moving estimate of the Fisher matrix of row vectors.

    `replicas` independent estimates are kept and moved in the same batched calls. Their minibatches may come as several
    tensors, so that layers of equal dimensions can share an object.

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

    A replica whose next estimate is not finite (an input with NaN, an overflow) keeps the one it has. Products in TF32
    would need a greater NOISE.
    """

    def __init__(
        self,
        replicas: int,
        dim: int,
        rank: int,
        num_samples_history: float,
        alpha: float,
        epsilon: float,
        delta: float,
        with_one: bool,
        device: torch.device | str,
    ) -> None:
        """Start from an estimate that knows nothing.

        With with_one every row ends with a 1 that x leaves out: x has dim - 1 columns.
        """
        self.dim, self.rank = dim, min(rank, dim - 1)
        self.num_samples_history = num_samples_history
        self.alpha, self.epsilon, self.delta = alpha, epsilon, delta
        self.with_one = with_one

        start = _starting_directions(self.rank, dim) / math.sqrt(2 + alpha * (dim + self.rank) / dim)
        self.W = start.repeat(replicas, 1, 1).to(device)
        self.rho = torch.full((replicas,), epsilon, device=device)
        self.d = torch.full((replicas, self.rank), epsilon, device=device)
        self._thin: dict[torch.dtype, tuple[Tensor, Tensor]] = {}  # what x and H are multiplied with
        self._thin_bits: dict[torch.dtype, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        self._scratch_of: dict[torch.dtype, tuple[np.ndarray, np.ndarray]] = {}
        self._for_update: tuple[np.ndarray, ...] = ()
        self._no_J = np.empty((0, self.rank, dim), dtype=np.float32)
        self._projected: dict[torch.dtype, Tensor] = {}
        random = torch.Generator().manual_seed(0)
        self._spare = (torch.randn(self.rank, dim, generator=random) / math.sqrt(dim)).to(device)

    def process(self, x: Tensor, part: slice, J: Tensor | None) -> Processed:
        """Make x (R, N, columns), the minibatch of these estimates, its y; write J (R, K, D) if it is wanted."""
        in_pairs = x.dtype == torch.bfloat16 and brgemm.usable()
        if x.device.type != "cpu" or not (in_pairs or x.dtype in FAST_TYPES) or not x.is_contiguous():
            return self.plain_process(x, part, J)
        replicas, rows, columns = x.shape
        to_H, from_H, of_one = self._factors(x.dtype, in_pairs)
        H, along = self._scratch(x.dtype, min(rows, ROWS_AT_ONCE) if in_pairs else rows, columns)
        ones = np.empty((replicas, rows if self.with_one else 0, 1), dtype=np.float32)
        before, after = np.empty(replicas, dtype=np.float32), np.empty(replicas, dtype=np.float32)
        of_J = self._no_J if J is None else J.numpy()
        fisher_kernels.precondition(
            bits(x), to_H[part], from_H[part], of_one[part], along, H, of_J, ones, before, after
        )
        one = torch.from_numpy(ones) if self.with_one else None
        return Processed(one, torch.from_numpy(before), torch.from_numpy(after))

    def plain_process(self, x: Tensor, part: slice, J: Tensor | None) -> Processed:
        """Do what `process` does, by operations of torch."""
        before, H = self.squares(x), self.project(x, part)
        if J is not None:
            self.correlate(x, H, out=J)
        one = self.subtract(x, H, part)
        return Processed(one, before, sums_of_squares([(x,) if one is None else (x, one)]))

    def squares(self, x: Tensor) -> Tensor:
        """Return (R,) float32, the sums of squares of minibatches with the appended ones."""
        return sums_of_squares([(x,)]) + (x.shape[1] if self.with_one else 0)

    def project(self, x: Tensor, part: slice) -> Tensor:
        """Return H (R, N, K), of the type of x, which is the minibatch of these estimates."""
        W, of_one = self._low(x.dtype)
        H = self._projected_memory(x)
        if not self.with_one:
            return product(x, W[part].mT, out=H)
        return add_product(of_one[part], x, W[part].mT, alpha=1, out=H)

    def _projected_memory(self, x: Tensor) -> Tensor:
        """Return memory that the last minibatch had too: new pages each time are slow."""
        kept, shape = self._projected.get(x.dtype), (*x.shape[:2], self.rank)
        if kept is None or kept.shape != shape:
            kept = self._projected[x.dtype] = x.new_empty(shape)
        return kept

    def correlate(self, x: Tensor, H: Tensor, out: Tensor) -> None:
        """Write J (R, K, D) into float32 `out`. It cannot overflow where the square of x does not."""
        if self.with_one:
            product(H.mT, x, out=out[:, :, :-1])
            torch.sum(H, dim=1, dtype=torch.float32, out=out[:, :, -1])
        else:
            product(H.mT, x, out=out)

    def subtract(self, x: Tensor, H: Tensor, part: slice) -> Tensor | None:
        """Make x its y; return the preconditioned appended ones (R, N, 1)."""
        W, of_one = self._low(x.dtype)
        add_product(x, H, W[part], alpha=-1, out=x)
        if not self.with_one:
            return None
        if x.device.type != "cpu":
            return 1 - torch.bmm(H, of_one[part].mT)
        one = torch.empty(*H.shape[:2], 1)
        ones_left(bits(H), bits(of_one[part]), one.numpy())
        return one

    def _low(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return W without the column for the appended 1, and that (R, 1, K) or (R, 0, K), of this type."""
        if dtype not in self._thin:
            W = self.W.to(dtype)
            columns = self.dim - self.with_one
            self._thin[dtype] = (W[:, :, :columns].contiguous(), W[:, :, columns:].mT.contiguous())
        return self._thin[dtype]

    def _forget_low(self) -> None:
        """Make these anew when they are asked for next: W has changed."""
        self._thin.clear()
        self._thin_bits.clear()

    def _factors(self, dtype: torch.dtype, in_pairs: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return what `fisher_kernels.precondition` multiplies with: to_H, from_H and of_one."""
        if dtype not in self._thin_bits:
            W, of_one = (bits(one) for one in self._low(dtype))
            to_H, from_H = W.transpose(0, 2, 1), W
            if in_pairs:
                replicas, rank, columns = W.shape
                to_H = np.empty((replicas, (columns + 1) // 2, rank, 2), dtype=W.dtype)
                from_H = np.empty((replicas, (rank + 1) // 2, columns, 2), dtype=W.dtype)
                fisher_kernels.thin_in_pairs(W, to_H, from_H)
            self._thin_bits[dtype] = to_H, from_H, of_one
        return self._thin_bits[dtype]

    def _scratch(self, dtype: torch.dtype, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
        """Return memory for H and for products of a replica, as `fisher_kernels.precondition` takes it."""
        kept = self._scratch_of.get(dtype)
        if kept is None or kept[0].shape[1] != rows:
            # torch's memory begins at multiples of 64 bytes, on which the order of a product's sums may depend
            H = bits(torch.empty(1, rows, self.rank, dtype=dtype))
            kept = self._scratch_of[dtype] = H, torch.empty(rows * max(self.rank, columns)).numpy()
        return kept

    def update(self, J: Tensor, squares: Tensor, num_rows: int) -> bool:
        """Move the estimates by a minibatch of this J (R, K, D) and tr(x x^T) (R,) with the ones, and return True.

        Where there are no compiled products and eigenvalues nothing is changed, and it returns False.
        """
        if J.device.type != "cpu" or not HAS_EIGH:
            return False
        eta, clean = self._eta(num_rows), np.empty(len(J), dtype=np.bool_)
        fisher_kernels.update(
            J.numpy(), self.W.numpy(), self.rho.numpy(), self.d.numpy(), squares.numpy(), eta / num_rows, 1 - eta,
            self.alpha, self.delta, self.epsilon, NOISE, clean, self._update_memory(),
        )  # fmt: skip
        if not clean.all():
            self._update_plainly(torch.from_numpy(np.flatnonzero(~clean)), J, squares, num_rows)
        self._forget_low()
        return True

    def _update_memory(self) -> tuple[np.ndarray, ...]:
        """Return memory for `fisher_kernels.update`: torch's, see `_scratch`."""
        if not self._for_update:
            (K, D), work = self.W.shape[1:], eigh_work(self.rank)
            shapes = ((K, D), (K, D), (K, K), (K, K), (work,))
            self._for_update = tuple(torch.empty(shape, dtype=torch.float64).numpy() for shape in shapes)
        return self._for_update

    def _update_plainly(self, which: Tensor, J: Tensor, squares: Tensor, num_rows: int) -> None:
        """Move the estimates of these numbers by operations of torch."""
        some = copy.copy(self)
        some.W, some.rho, some.d = self.W[which], self.rho[which], self.d[which]
        moved = some.toward(J[which], squares[which], num_rows)
        some.adopt(moved, *torch.linalg.eigh(moved.Z))
        self.W[which], self.rho[which], self.d[which] = some.W, some.rho, some.d

    def toward(self, J: Tensor, squares: Tensor, num_rows: int) -> Update:
        """Return the update for a minibatch of this J (R, K, D), overwritten, and tr(x x^T) (R,) with the ones."""
        eta = self._eta(num_rows)
        rho, d = self.rho.double(), self.d.double()
        unit = eta / num_rows * squares.double() + (1 - eta) * (self.dim * rho + d.sum(1))
        new = self._e(rho, d).rsqrt() / unit[:, None]
        old = (1 - eta) * (d + rho[:, None]) * new
        new = eta / num_rows * new
        Y = J.mul_(new.float()[:, :, None]).addcmul_(self.W, old.float()[:, :, None]).double()
        return Update(eta, unit, Y, self._finite_or_eye(torch.bmm(Y, Y.mT)))

    def _eta(self, num_rows: int) -> float:
        return min(1 - math.exp(-num_rows / self.num_samples_history), ETA_LIMIT)

    def _finite_or_eye(self, Z: Tensor) -> Tensor:
        finite = Z.sum((1, 2)).isfinite()
        eye = torch.eye(self.rank, dtype=Z.dtype, device=Z.device)
        return torch.where(finite[:, None, None], Z, eye)

    def adopt(self, update: Update, c: Tensor, U: Tensor) -> None:
        """Take the next W, rho and d from c (R, K) and U (R, K, K), in ascending order, of the update's Z."""
        self._forget_low()
        c, U, unit = c.flip(1), U.flip(2), update.unit[:, None]
        floor = ((1 - update.eta) * self.rho.double()[:, None] / unit) ** 2
        deviation = torch.maximum(c, floor).sqrt()
        rho = (1 - deviation.sum(1, keepdim=True)) / (self.dim - self.rank)
        d = deviation - rho
        least = torch.maximum(self.delta * deviation[:, :1], self.epsilon / unit)
        rho, d = (unit * torch.maximum(rho, least))[:, 0], unit * torch.maximum(d, least)

        noise = c <= NOISE * c[:, :1]
        R = torch.bmm(U.mT * c.clamp(min=torch.finfo(c.dtype).tiny).rsqrt()[:, :, None], update.Y)
        orthonormal = torch.ones_like(rho, dtype=torch.bool)
        if noise.device.type != "cpu" or noise.any():  # off the CPU looking would mean waiting
            R, orthonormal = self._replace(R, noise)
        W = R.mul_(self._e(rho, d).sqrt()[:, :, None]).float()
        rho, d = rho.float(), d.float()

        good = orthonormal & (W.sum((1, 2)) + d.sum(1) + rho).isfinite()
        self.W = torch.where(good[:, None, None], W, self.W).contiguous()  # a triangular solution lies by columns
        self.rho = torch.where(good, rho, self.rho)
        self.d = torch.where(good[:, None], d, self.d)

    def _replace(self, R: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return R (R, K, D), orthonormal but where noise (R, K), with other rows there; and whether that worked.

        The rows of noise come last, so that the others stay as they are.
        """
        R = torch.where(noise[:, :, None], self._spare.double(), R)
        lower, failed = torch.linalg.cholesky_ex(R @ R.mT)
        R = torch.where(noise[:, :, None], torch.linalg.solve_triangular(lower, R, upper=False), R)
        return R, failed == 0

    def _e(self, rho: Tensor, d: Tensor) -> Tensor:
        beta = rho * (1 + self.alpha) + self.alpha / self.dim * d.sum(1)
        return 1 / (beta[:, None] / d + 1)


def _starting_directions(rank: int, dim: int) -> Tensor:
    """Return (rank, dim) orthonormal rows, row r not zero in columns r, r + rank, ...: no column is left out."""
    R = torch.zeros(rank, dim)
    for r in range(rank):
        R[r, r::rank] = 1.0
        R[r, r] = FIRST_ELEMENT
    return torch.nn.functional.normalize(R, dim=1)
