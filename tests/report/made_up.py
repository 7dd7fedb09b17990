"""A comparison as it could be, with made-up values, and one with hostile names."""

import math
import random

from asr_parallel.report.comparison import (
    Cell,
    ClockInputs,
    Comparison,
    Evaluation,
    MeasuredTime,
    ModelledTime,
    Target,
    WordErrors,
)
from asr_parallel.report.published import Published
from asr_parallel.report.tuning import Contestant, Trial, Tuning

DIVERGED = "training diverged: held-out loss 4e+32 at the end, above 13"
WORDS = {"dev": 1383, "eval": 3058}
HOSTILE = '<script>alert("x")</script> & "quotes" | `tick` $\\alpha_1^2$ #1 {50%} ~\x1b[31m\nnew line'


def word_errors(name: str, wer: float, p_value: float | None) -> WordErrors:
    words = WORDS[name]
    errors = round(wer * words / 100)
    ins, dele = errors // 20, errors // 8
    wer = 100 * errors / words
    # Ten speakers, of whom one makes a third of the errors
    per_speaker = {f"s{n}": (errors // 15, words // 10) for n in range(9)}
    per_speaker["s9"] = (errors - 9 * (errors // 15), words - 9 * (words // 10))
    return WordErrors(
        words, wer, errors - ins - dele, dele, ins, wer * 0.88, wer * 1.13, p_value, "asr-parallel hub5", per_speaker
    )


def commands(name: str, algorithm: str, workers: int) -> list[str]:
    """What makes a cell: training, decoding of both sets, scoring; the path is too long for a phone."""
    out = f"/srv/{'speech' * 8}/exp/{name}"
    decode = [f"asr-parallel decode --model {out} --out {out}/decode_{of} --beam 13.0" for of in ("dev", "eval")]
    train = f"asr-parallel train-dnn --frames exp/frames --out {out} --algorithm {algorithm} --workers {workers}"
    return [train, *decode, f"asr-parallel score --lang exp/lang --decode-dev {out}/decode_dev"]


def cell(algorithm: str, workers: int, seed: int, loss: float, optimizer: str = "ng-sgd", **more: object) -> Cell:
    """A cell that is done: the loss falls to that value, and WER follows it."""
    chance = random.Random(f"{algorithm} {workers} {seed} {optimizer} {more.get('label')}")
    label = str(more.get("label", ""))
    name = "_".join(part for part in (algorithm, str(workers), optimizer, label.replace(" ", "-"), f"s{seed}") if part)
    loss += 0.01 * chance.random()
    frames = 1_320_000
    exchange = {"gradient": 60.0, "average": 6.0, "elastic": 8.0, "ensemble": 15.0}.get(algorithm, 0.0)
    exchange *= math.log2(workers)
    relabel = 40.0 if algorithm == "ensemble" else 0.0
    compute = 400 / workers
    modelled = ModelledTime(compute + exchange + relabel, compute, 0.02 * exchange, 0.98 * exchange, relabel)
    measured = MeasuredTime(520.0 + relabel, 480.0, 0.0, 12.0 + 0.1 * workers, relabel, 20.0)
    assert modelled.seconds is not None and measured.seconds is not None
    shares = [step / 12 for step in range(13)]
    learning_curve = tuple(
        Evaluation(
            round(frames * s), loss + 2.5 * math.exp(-5 * s) - 2.5 * math.exp(-5), 0.6 - 0.55 * math.exp(-5 * s),
            measured.seconds * s, modelled.seconds * s,
        )
        for s in shares
    )  # fmt: skip
    p_value = None if workers == 1 else chance.random() ** 3
    wer = {name_: word_errors(name_, base * loss / 1.5, p_value) for name_, base in (("dev", 7.0), ("eval", 16.0))}
    speedup = 400 / modelled.seconds
    known: dict = {
        "frames": frames, "learning_curve": learning_curve, "wer": wer, "measured": measured, "modelled": modelled,
        "speedup_frames": speedup, "speedup_loss": 1.0 if workers == 1 else speedup * 0.7 if loss < 1.62 else 0.0,
        "efficiency": speedup / workers, "peak_speedup": speedup * 1.1,
        "other_seconds": modelled.seconds + 3 * exchange,
        "bytes_per_worker": 0 if workers == 1 else round(5e6 * (2000 if algorithm == "gradient" else 160)),
        "syncs": None if workers == 1 else 160 / workers, "cut_share": 0.22,
        "warnings": () if workers < 8 or algorithm != "elastic" else ("20 synchronizations of a worker, too few",),
        "command": " && ".join(commands(name, algorithm, workers)),
        "folder": f"exp/swbd/compare/{name}",
    }  # fmt: skip
    return Cell(name, algorithm, workers, optimizer, seed, "done", **(known | more))


def comparison() -> Comparison:
    """Four algorithms, K = 1, 2, 4, 8, three seeds; one failed, one missing, one diverged, some with another optimiser
    or period.
    """
    cells = [cell("none", 1, seed, 1.49) for seed in (1, 2, 3)]
    for algorithm, worse in {"average": 0.05, "elastic": 0.08, "gradient": 0.01, "ensemble": 0.03}.items():
        period = None if algorithm == "gradient" else 16
        cells += [
            cell(algorithm, workers, seed, 1.49 + worse * math.log2(workers), period=period)
            for workers in (2, 4, 8)
            for seed in (1, 2, 3)
        ]
    cells += [cell("none", 1, 1, 1.8, "sgd"), cell("average", 4, 1, 1.95, "sgd", period=16)]
    cells += [cell("average", 8, 1, 1.52, label="period 1", period=1)]
    cells[-4] = Cell(
        cells[-4].name, "ensemble", 8, "ng-sgd", 3, "failed", 16, error="ValueError: worker 5: loss is not finite",
        command=cells[-4].command, folder=cells[-4].folder,
    )  # fmt: skip
    cells.append(Cell("gradient_16_ng-sgd_s1", "gradient", 16, "ng-sgd", 1, "missing"))
    cells.append(Cell("average_16_ng-sgd_s1", "average", 16, "ng-sgd", 1, "diverged", 16, error=DIVERGED))
    return Comparison(
        "Averaging and others", "synthetic Switchboard, 1.50 h", "2031-05-06 07:08 UTC", tuple(cells),
        "asr-parallel hub5", True, {"cpu": "made-up 2000", "cores": 2, "gpu": None},
        {"asr_parallel": "0.0", "torch": "2.13.0"},
        ClockInputs("10 GbE", 3e-5, 1.1e9, 0.0125, "median of 50 steps of the very network"),
        ("asr-parallel compare conf/compare.yaml --exp exp/swbd",),
        (
            Published("Su and Chen", "arXiv 1507.01239, abstract", 16, 9.3),
            Published("CNTK BMUF", "manual", 64, 43.65, 54.0),
        ),
        {"channel_tilt": 0.3, "mask_filters": 15}, tuning=tuning(), target=Target(3), other_network="1gbe",
    )  # fmt: skip


def tuning() -> Tuning:
    """Two contestants with four trials each, of which one diverged."""
    rates = (0.001, 0.004, 0.016, 0.064)
    trials = [Trial({"learning_rate": rate, "period": 16}, 2 - rate) for rate in rates]
    lost = [*trials[:3], Trial({"learning_rate": 0.064, "period": 4}, None)]
    return Tuning(
        0.5, 0, {"learning_rate": "log 0.001, 0.064", "period": "choices 4, 16"},
        (
            Contestant("none_1_ng-sgd", tuple(trials), 3, ("learning_rate",)),
            Contestant("average_4_ng-sgd", tuple(lost), 2),
        ),
    )  # fmt: skip


def bare() -> Comparison:
    """Nothing is known of the only cell."""
    return Comparison("bare", "none", "", (Cell("a", "average", 2, "sgd", 1, "done"),))


def hostile() -> Comparison:
    """Names that no format takes as they are."""
    cells = (
        cell("none", 1, 1, 1.5, HOSTILE, label=HOSTILE),
        cell(HOSTILE, 2, 1, 1.6, HOSTILE, command=HOSTILE, folder=HOSTILE),
        cell("_under", 4, 1, 1.7, HOSTILE),
        Cell(HOSTILE, HOSTILE, 4, HOSTILE, 1, "failed", error=HOSTILE, command=HOSTILE),
    )
    return Comparison(
        HOSTILE, HOSTILE, HOSTILE, cells, HOSTILE, False, {HOSTILE: HOSTILE}, {HOSTILE: HOSTILE},
        ClockInputs(HOSTILE, how=HOSTILE), (HOSTILE,), (Published(HOSTILE, HOSTILE, 2, 1.5),),
    )  # fmt: skip
