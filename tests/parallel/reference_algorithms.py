"""The papers' equations in plain float64, what ours are measured against.

A rule's meet(w (K, P), frames (K,), rate) is given the workers' models after a block and returns where they go on from,
(K, P); `delivered` is the final model, were it the last block. K and P are small.
"""

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np

Array = np.ndarray
Mean = Callable[[Array, Array, Array], Array]  # of models (K, P) by weights (K,), near a point (P,) known to all
Train = Callable[[Array, int], Array]  # models (K, P) before block t -> after it


class Rule(Protocol):
    delivered: Array

    def meet(self, w: Array, frames: Array, rate: float) -> Array: ...


def plain(w: Array, n: Array, around: Array) -> Array:
    return (n[:, None] * w).sum(0) / n.sum()


class Quantised:
    """Seide et al., 2014: quantise what is to be sent, keep the error and add it to the next message.

    A worker that does not count sends none.
    """

    def __init__(self, greatest_sum: int, num_workers: int) -> None:
        self.most, self.error = greatest_sum // num_workers, np.zeros(())

    def __call__(self, w: Array, n: Array, around: Array) -> Array:
        message = (n / n.sum())[:, None] * (w - around) + self.error
        unit = np.abs(message).max() / self.most
        numbers = np.rint(message / unit) * (n > 0)[:, None]
        self.error = message - numbers * unit
        return around + unit * numbers.sum(0)


class Averaging:
    """Su & Chen: w = sum_k n_k w_k / sum_k n_k."""

    def __init__(self, start: Array, equal: bool = False, mean: Mean = plain) -> None:
        self.delivered, self.equal, self.mean = start, equal, mean

    def meet(self, w: Array, frames: Array, rate: float) -> Array:
        weights = (frames > 0).astype(float) if self.equal else frames
        self.delivered = self.mean(w, weights, self.delivered)
        return np.tile(self.delivered, (len(w), 1))


class Bmuf:
    """Chen & Huo: G(t) = mean - W_g(t-1); Delta(t) = eta Delta(t-1) + zeta G(t); W(t) = W(t-1) + Delta(t);
    W_g(t) = W(t), or with Nesterov W(t) + eta Delta(t).
    """

    def __init__(self, start: Array, eta: float, zeta: float, nesterov: bool, mean: Mean = plain) -> None:
        self.delivered, self.dispatched, self.delta = start, start, np.zeros_like(start)
        self.eta, self.zeta, self.nesterov, self.mean = eta, zeta, nesterov, mean

    def meet(self, w: Array, frames: Array, rate: float) -> Array:
        g = self.mean(w, frames, self.dispatched) - self.dispatched
        self.delta = self.eta * self.delta + self.zeta * g
        self.delivered = self.delivered + self.delta
        self.dispatched = self.delivered + (self.eta * self.delta if self.nesterov else 0)
        return np.tile(self.dispatched, (len(w), 1))


class CntkBlockMomentum:
    """The figure of CNTK's documentation: g_k = dispatched - w_k; v = eta v + (1 - eta) eps sum_k g_k; w = w - v;
    dispatched = w - eta v. Its code then overwrites w by what it has dispatched.
    """

    def __init__(self, start: Array, eta: float, eps: float, overwrites: bool = False) -> None:
        self.delivered, self.dispatched, self.v = start, start, np.zeros_like(start)
        self.eta, self.eps, self.overwrites = eta, eps, overwrites

    def meet(self, w: Array, frames: Array, rate: float) -> Array:
        self.v = self.eta * self.v + (1 - self.eta) * self.eps * (self.dispatched - w).sum(0)
        self.delivered = self.delivered - self.v
        self.dispatched = self.delivered - self.eta * self.v
        if self.overwrites:
            self.delivered = self.dispatched
        return np.tile(self.dispatched, (len(w), 1))


class SlowMo:
    """Wang et al.: u = beta u + (x - mean) / gamma_t; x = x - alpha gamma_t u."""

    def __init__(self, start: Array, alpha: float, beta: float) -> None:
        self.delivered, self.u, self.alpha, self.beta = start, np.zeros_like(start), alpha, beta

    def meet(self, w: Array, frames: Array, rate: float) -> Array:
        self.u = self.beta * self.u + (self.delivered - plain(w, frames, self.delivered)) / rate
        self.delivered = self.delivered - self.alpha * rate * self.u
        return np.tile(self.delivered, (len(w), 1))


class DiLoCo:
    """Douillard et al., Algorithm 1, with torch's Nesterov: Delta = mean_k (theta - theta_k); b = mu b + Delta;
    theta = theta - lr (Delta + mu b). We deliver theta without its last look ahead, lr mu b.
    """

    def __init__(self, start: Array, lr: float, mu: float) -> None:
        self.delivered, self.theta, self.b, self.lr, self.mu = start, start, np.zeros_like(start), lr, mu

    def meet(self, w: Array, frames: Array, rate: float) -> Array:
        delta = ((frames / frames.sum())[:, None] * (self.theta - w)).sum(0)
        self.b = self.mu * self.b + delta
        self.theta = self.theta - self.lr * (delta + self.mu * self.b)
        self.delivered = self.theta + self.lr * self.mu * self.b
        return np.tile(self.theta, (len(w), 1))


class Easgd:
    """Zhang, Choromanska & LeCun, (5) and (6) without the gradient: x_i = x_i - alpha (x_i - c);
    c = c + alpha sum_i (x_i - c), of the workers that have trained.
    """

    def __init__(self, start: Array, beta: float, mean: Mean = plain) -> None:
        self.delivered, self.beta, self.mean = start, beta, mean

    def meet(self, w: Array, frames: Array, rate: float) -> Array:
        here, alpha, centre = (frames > 0).astype(float), self.beta / len(w), self.delivered
        mean = self.mean(w, here, centre)
        self.delivered = centre + alpha * here.sum() * (mean - centre)
        return w - alpha * here[:, None] * (w - centre)


def run(rule: Rule, start: Array, train: Train, frames: Array, rates: Array) -> Iterator[tuple[Array, Array]]:
    """After each block: the workers' models and the delivered one."""
    x = np.tile(start, (frames.shape[1], 1))
    for t, n in enumerate(frames):
        x = rule.meet(train(x, t), n, rates[t])
        yield x, rule.delivered


def run_overlapped(
    rule: Rule, start: Array, train: Train, frames: Array, rates: Array
) -> Iterator[tuple[Array, Array]]:
    """Every block's models are offered when it ends and the rule's answer is taken in when the next one does, with what
    has been learnt since.
    """
    x = np.tile(start, (frames.shape[1], 1))
    local_params = None
    for t in range(len(frames)):
        w = train(x, t)
        x = w if local_params is None else rule.meet(local_params, frames[t - 1], rates[t - 1]) + (w - local_params)
        local_params = x
        yield x, rule.delivered


def colearning(
    start: Array, train: Callable[[Array, int], Array], n: Array, epochs: int, first: int, eps: float
) -> Iterator[tuple[Array, int]]:
    """Xu et al.: average after T_i local epochs; T_i+1 = 2 T_i when |w_i - w_i-1| <= eps |w_i-1|.

    Args:
        epochs: of all rounds; the last one is cut to them.
        train: models (K, P) before a local epoch -> after it; numbered.

    Yields:
        The average and the epochs of its round.
    """
    w, length, done = start, first, 0
    while done < epochs:
        now = min(length, epochs - done)
        models = np.tile(w, (len(n), 1))
        for epoch in range(done, done + now):
            models = train(models, epoch)
        before, w, done = w, plain(models, n, w), done + now
        if np.sqrt(((w - before) ** 2).sum()) <= eps * np.sqrt((before**2).sum()):
            length *= 2
        yield w, now
