"""Predictions of the modelled clock for algorithms and numbers of workers, as Markdown."""

from collections.abc import Sequence

from asr_parallel.clock.modelled_clock import MOST, PAYS, ModelledClock, pays_up_to, smallest_period
from asr_parallel.report.published import PUBLISHED

EFFICIENCY = 0.9  # for which the smallest period is printed


def prediction_markdown(clocks: Sequence[ModelledClock], workers: Sequence[int], measured: str) -> str:
    """Return tables of speedups and parts of the time, limits, and published speedups.

    Args:
        clocks: one for each algorithm, of any number of workers.
        workers: numbers of workers, a row of the table for each.
        measured: origin of the seconds of a minibatch.
    """
    clock = clocks[0]
    work, network, jitter = clock.work, clock.network, clock.stragglers.jitter
    lines = [
        f"Modelled on {network.name}: alpha {1e6 * network.alpha:g} us, beta {network.beta / 1e6:,.5g} MB/s"
        f" ({network.source}); all-reduce: {clock.how}.",
        f"A minibatch of {work.minibatch} frames takes {1e3 * work.step_seconds:.4g} ms ({measured}), jitter"
        f" {100 * jitter:.3g} %; {work.parameters:,} parameters; {clock.frames:,.0f} frames an epoch.",
        "",
        "| algorithm | workers | modelled speedup | modelled peak | modelled efficiency | modelled s an epoch"
        " | modelled compute | modelled wait | modelled exchange | modelled label |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [_row(clock, count) for clock in clocks for count in workers]
    wanted = " | ".join(f"K = {count}" for count in workers)
    lines += [
        "",
        f"By time alone, workers pay up to where twice as many are less than {PAYS:g} times as fast; and this averaging"
        f" period, in minibatches, keeps {100 * EFFICIENCY:g} % efficiency, where an epoch has as many:",
        "",
        f"| algorithm | modelled: pays up to | {wanted} |",
        "|---|--:|" + "--:|" * len(workers),
    ]
    lines += [_limits(clock, workers) for clock in clocks]
    lines += ["", "| published (not ours) | GPUs | published speedup | published peak | source |"]
    lines += ["|---|--:|--:|--:|---|"]
    for one in PUBLISHED:
        peak = "-" if one.peak is None else f"{one.peak:g}"
        lines.append(f"| {one.who} | {one.workers} | {one.speedup:g} | {peak} | {one.source} |")
    return "\n".join([*lines, ""])


def _row(clock: ModelledClock, workers: int) -> str:
    clock = clock.with_(workers=workers)
    begin = f"| {clock.options.algorithm} | {workers} |"
    try:
        seconds = clock.epoch()
    except ValueError:  # not a minibatch each
        return f"{begin} too little data |" + " - |" * 7
    parts = (seconds.compute, seconds.wait, seconds.exchange, seconds.label)
    shares = " | ".join(f"{100 * part / seconds.total:.1f} %" for part in parts)
    return (
        f"{begin} {clock.speedup():.2f} | {clock.peak():.2f} | {100 * clock.efficiency():.1f} %"
        f" | {seconds.total:,.1f} | {shares} |"
    )


def _limits(clock: ModelledClock, workers: Sequence[int]) -> str:
    most = pays_up_to(clock)
    end = 2 * most > MOST or 2 * most * clock.work.minibatch > clock.frames
    shown = "none" if most == 1 else f"{most:,}" + (" (then data end)" if end else "")
    return f"| {clock.options.algorithm} | {shown} | " + " | ".join(_period(clock, count) for count in workers) + " |"


def _period(clock: ModelledClock, workers: int) -> str:
    try:
        clock = clock.with_(workers=workers)
        period, epoch = smallest_period(clock, EFFICIENCY), clock.minibatches
    except ValueError:
        return "-"
    if period is not None:
        return f"{period:,}" if period <= epoch else f"over an epoch ({epoch:,.0f})"
    return "never" if clock.has_period else "no period"
