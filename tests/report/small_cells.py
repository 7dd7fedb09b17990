"""Cells of a few made-up values."""

from dataclasses import replace

from asr_parallel.report.comparison import Cell, Comparison, WordErrors


def point(name: str, workers: int, wer: float, speedup: float | None, seed: int = 1, **more: object) -> Cell:
    errors = WordErrors(1000, wer, round(10 * wer), 0, 0)
    known: dict = {"wer": {"eval": errors}, "speedup_frames": speedup, "speedup_loss": speedup}
    algorithm = "none" if workers == 1 else name
    return Cell(f"{name} {workers} {seed}", algorithm, workers, "sgd", seed, "done", **(known | more))


def compare(*cells: Cell) -> Comparison:
    return Comparison("", "", "", cells)


def of_speakers(name: str, workers: int, seed: int, errors: list[int]) -> Cell:
    """100 words a speaker."""
    wer = WordErrors(
        100 * len(errors), sum(errors) / len(errors), sum(errors), 0, 0, 1.0, 99.0,
        per_speaker={f"s{n}": (count, 100) for n, count in enumerate(errors)},
    )  # fmt: skip
    return replace(point(name, workers, 0.0, 1.5, seed), wer={"eval": wer})
