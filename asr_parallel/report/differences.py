"""Paired differences of a comparison's systems from the single worker, and what they decide."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from asr_parallel.decode.paired_difference import (
    PairedDifference,
    Verdict,
    holm,
    mean_difference,
    verdict,
    wer_difference,
)
from asr_parallel.report.comparison import Cell, Comparison, WordErrors
from asr_parallel.report.groups import Group, baseline, sets

BOOTSTRAPS = 4096  # results that are kept: every file of a report asks for the same ones
Counts = tuple[tuple[tuple[int, ...], ...], ...]  # (errors, words) by seed and speaker


@dataclass(frozen=True)
class WerDifference:
    """The difference in WER of a system from its single worker on one set, per cent of the words.

    margin: the largest difference that does not matter, per cent of the words.
    corrected_p: by Holm's method, for the number of systems in the report.
    """

    paired: PairedDifference
    margin: float
    corrected_p: float

    @property
    def verdict(self) -> Verdict:
        """The judgement that the difference allows of the system."""
        return verdict(self.paired, self.margin, self.corrected_p)

    @property
    def said(self) -> str:
        """The verdict, with what it is about where there is one seed."""
        return self.verdict if self.paired.seeds > 1 else f"{self.verdict} (one seed)"


@dataclass(frozen=True)
class Contestant:
    """A system that is compared with a single worker, over the seeds that both have.

    wer: by set. loss: difference in held-out loss, nats a frame; None of fewer than two seeds.
    """

    group: Group
    base: Group
    wer: dict[str, WerDifference]
    loss: PairedDifference | None

    @property
    def seeds(self) -> int:
        """Seeds that both have."""
        return max(paired.seeds for paired in (*(one.paired for one in self.wer.values()), self.loss) if paired)


def contestants(comparison: Comparison, groups: Sequence[Group]) -> list[Contestant]:
    """Return the systems that have trainings in common with a single worker, by number of workers."""
    pairs = [(group, base) for group in groups if (base := baseline(group, groups)) is not None and base is not group]
    wer: dict[Group, dict[str, WerDifference]] = {group: {} for group, _ in pairs}
    for name in sets(comparison):
        found = [(group, *one) for group, base in pairs if (one := _in_wer(group, base, name)) is not None]
        corrected = holm([paired.p for _, paired, _ in found])
        for (group, paired, of_base), p in zip(found, corrected, strict=True):
            wer[group][name] = WerDifference(paired, comparison.margin * of_base / 100, p)
    of_loss = {group: _in_loss(group, base) for group, base in pairs}
    every = [Contestant(group, base, wer[group], of_loss[group]) for group, base in pairs]
    return sorted((one for one in every if one.wer or one.loss), key=lambda one: one.group.workers)


def _in_wer(group: Group, base: Group, name: str) -> tuple[PairedDifference, float] | None:
    """Return the difference on a set, and the single worker's WER with the same seeds; None: not to be had."""
    pairs = [
        (own.wer[name], other.wer[name])
        for own, other in _paired(group, base) if name in own.wer and name in other.wer
    ]  # fmt: skip
    speakers = sorted(pairs[0][0].per_speaker) if pairs else []
    if len(speakers) < 2 or any(sorted(errors.per_speaker) != speakers for pair in pairs for errors in pair):
        return None
    own, of_base = (tuple(_counts(errors, speakers) for errors in of_system) for of_system in zip(*pairs, strict=True))
    return _bootstrap(own, of_base), statistics.fmean(errors.wer for _, errors in pairs)


def _in_loss(group: Group, base: Group) -> PairedDifference | None:
    losses = [
        (own.held_out_loss, other.held_out_loss)
        for own, other in _paired(group, base)
        if own.held_out_loss is not None and other.held_out_loss is not None
    ]
    return mean_difference(*zip(*losses, strict=True)) if losses else None


def _paired(group: Group, base: Group) -> list[tuple[Cell, Cell]]:
    """Return the trainings of both that are done, by seed."""
    of_base = {cell.seed: cell for cell in base.done}
    return [(cell, of_base[cell.seed]) for cell in group.done if cell.seed in of_base]


def _counts(errors: WordErrors, speakers: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    return tuple(errors.per_speaker[name] for name in speakers)


@lru_cache(BOOTSTRAPS)
def _bootstrap(own: Counts, base: Counts) -> PairedDifference:
    return wer_difference(np.array(own), np.array(base))
