"""Columns and rows of differences from the single worker, and the note that explains them."""

from collections.abc import Callable, Sequence

from asr_parallel.decode.paired_difference import PairedDifference
from asr_parallel.report.comparison import Comparison
from asr_parallel.report.differences import Contestant, WerDifference
from asr_parallel.report.groups import Group
from asr_parallel.report.tables import Column, Value
from asr_parallel.report.templates import NONE

LOSS_DIFFERENCE = "+.4f"
Rows = list[list[str]]


def difference_columns(found: Sequence[Contestant]) -> list[Column]:
    """Return the columns of groups that say how they differ from the single worker; they know nothing of others."""
    of_group = {one.group: one for one in found}

    def of_loss(get: Callable[[PairedDifference], Value]) -> Callable[[Group], Value]:
        return lambda g: get(one.loss) if (one := of_group.get(g)) is not None and one.loss is not None else None

    return [
        Column("seeds_in_common", "seeds in common", lambda g: one.seeds if (one := of_group.get(g)) else None),
        *(column for name in dict.fromkeys(n for one in found for n in one.wer) for column in _of_set(name, of_group)),
        Column("loss_difference", "loss difference", of_loss(lambda loss: loss.difference), LOSS_DIFFERENCE),
        Column(
            "loss_difference_low", "loss difference, low", of_loss(lambda loss: loss.interval()[0]), LOSS_DIFFERENCE
        ),
        Column(
            "loss_difference_high", "loss difference, high", of_loss(lambda loss: loss.interval()[1]), LOSS_DIFFERENCE
        ),
    ]


def _of_set(name: str, of_group: dict[Group, Contestant]) -> list[Column]:
    def of(get: Callable[[WerDifference], Value]) -> Callable[[Group], Value]:
        return lambda g: get(one.wer[name]) if (one := of_group.get(g)) is not None and name in one.wer else None

    return [
        Column(f"{name}_difference", f"{name} WER difference", of(lambda d: d.paired.difference), "+.2f"),
        Column(f"{name}_difference_low", f"{name} difference, low", of(lambda d: d.paired.interval()[0]), "+.2f"),
        Column(f"{name}_difference_high", f"{name} difference, high", of(lambda d: d.paired.interval()[1]), "+.2f"),
        Column(f"{name}_difference_margin", f"{name} margin", of(lambda d: d.margin), ".2f"),
        Column(f"{name}_difference_p", f"{name} difference, corrected p", of(lambda d: d.corrected_p), ".2g"),
        Column(f"{name}_difference_verdict", f"{name} verdict", of(lambda d: d.said)),
    ]


def difference_rows(found: Sequence[Contestant], names: Sequence[str], mark: str = "") -> Rows:
    """Return heads and a row for each system: WER on these sets and held-out loss less the single worker's.

    Args:
        mark: stands behind the name of a system.

    Returns:
        Nothing where there is no system.
    """
    if not found:
        return []
    heads = ["system", "K", "seeds in common"]
    for name in names:
        heads += [f"{name} WER difference (95 %)", f"{name} corrected p", f"{name} verdict"]
    rows = [[*heads, "held-out loss difference (95 %)"]]
    for one in found:
        shown = [text for name in names for text in _shown(one.wer.get(name))]
        loss = interval_text(one.loss, LOSS_DIFFERENCE) if one.loss else NONE
        rows.append([one.group.system + mark, str(one.group.workers), str(one.seeds), *shown, loss])
    return rows


def _shown(difference: WerDifference | None) -> list[str]:
    if difference is None:
        return [NONE, NONE, NONE]
    p = difference.corrected_p
    return [interval_text(difference.paired, "+.2f"), "<0.001" if p < 0.001 else f"{p:.3f}", difference.said]


def interval_text(paired: PairedDifference, form: str) -> str:
    """Return a difference and its 95 % interval; form: of its numbers."""
    low, high = paired.interval()
    return f"{paired.difference:{form}} ({low:{form}} to {high:{form}})"


def difference_note(comparison: Comparison, found: Sequence[Contestant]) -> str:
    """Return how differences and verdicts are to be read."""
    return (
        "Difference: less the single worker's, mean over common seeds; below 0 is better. Of WER with the 95 % interval"
        " by bootstrap over speakers and seeds, the same draws for both; of one seed over speakers alone: it is about"
        " these two trainings only. Of held-out loss with Student's interval over seeds. Equivalent: the 90 % interval"
        f" lies within the margin, {comparison.margin:g} % of the single worker's WER (two one-sided tests). Better or"
        f" worse: p is below 0.05 when corrected by Holm's method for the {len(found)} systems on each set; the"
        " intervals are not corrected. No difference found does not mean equal."
    )
