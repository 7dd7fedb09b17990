"""The results of an experiment folder as Markdown: word error rates of its systems, seconds of its stages."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr_parallel.record.files import list_files, read_json
from asr_parallel.record.stage import RECORD

SYSTEMS = ("mono", "tri", "dnn")  # first and in this order; others follow by name
COMPARISON_FOLDER, COMPARISON_STAGE = "compare", 8  # its trainings and decodes count as stage 8
STAGES = (
    "corpus",
    "lexicon and language model",
    "features",
    "GMMs and alignment",
    "frame store",
    "RBM pretraining",
    "DNN training",
    "decoding and scoring",
    "comparison",
)


@dataclass(frozen=True)
class SystemResult:
    """The scores of one system: contents of wer.json and cer.json, None where they were not scored."""

    name: str
    dev: dict[str, Any] | None
    eval: dict[str, Any] | None
    dev_characters: dict[str, Any] | None = None
    eval_characters: dict[str, Any] | None = None


def system_results(exp: Path) -> list[SystemResult]:
    """Return all systems of an experiment that were scored on dev or eval."""
    names = {path.parents[2].name for path in exp.glob("*/decode_*/scoring/wer.json")}
    in_order = [name for name in SYSTEMS if name in names] + sorted(names - set(SYSTEMS))
    parts = [(s, rate) for rate in ("wer", "cer") for s in ("dev", "eval")]
    return [SystemResult(name, *(_scored(exp / name / f"decode_{s}", rate) for s, rate in parts)) for name in in_order]


def _scored(decode: Path, rate: str) -> dict[str, Any] | None:
    path = decode / "scoring" / f"{rate}.json"
    return read_json(path) if path.is_file() else None


def stage_seconds(exp: Path) -> dict[int, float]:
    """Return the seconds of each stage number, summed over the folders that were made in it."""
    seconds: dict[int, float] = defaultdict(float)
    for path in (path for path in list_files(exp) if path.name == RECORD):
        if any(part.startswith(".") for part in path.relative_to(exp).parts):
            continue  # left by a run that was killed
        record = read_json(path)
        of_comparison = path.is_relative_to(exp / COMPARISON_FOLDER)
        seconds[COMPARISON_STAGE if of_comparison else record["stage"]] += record["seconds"]
    return dict(sorted(seconds.items()))


def results_markdown(exp: Path, synthetic: bool = False) -> str:
    """Return the results as Markdown.

    Args:
        exp: experiment folder.
        synthetic: whether the corpus is synthetic; title and rows then say so. A corpus with the generator's
            synthetic.json is synthetic anyway.

    Raises:
        ValueError: nothing was scored.
    """
    synthetic = synthetic or (exp / "corpus" / "synthetic.json").is_file()
    systems = system_results(exp)
    if not systems:
        raise ValueError(f"{exp}: no system was scored yet; expected SYSTEM/decode_SET/scoring made by stage 7")
    kind = " (synthetic speech)" if synthetic else ""
    characters = any(system.dev_characters or system.eval_characters for system in systems)
    lines = [f"# Word{' and character' if characters else ''} error rates in {exp}{kind}", ""]
    rates = ["dev WER %", "eval WER %"] + (["dev CER %", "eval CER %"] if characters else [])
    lines += [f"| system | {' | '.join(rates)} | LM weight, word penalty | scorer |"]
    lines += [f"|---|{'--:|' * len(rates)}---|---|"]
    lines += [_row(system, ", synthetic" if synthetic else "", characters) for system in systems]
    if subsets := [line for system in systems for line in _subset_rows(system, ", synthetic" if synthetic else "")]:
        lines += ["", "| part of eval | WER % | errors | words |", "|---|--:|--:|--:|", *subsets]
    seconds = stage_seconds(exp)
    lines += ["", "| stage | seconds |", "|---|--:|"]
    lines += [f"| {number} {STAGES[number]} | {time:.1f} |" for number, time in seconds.items()]
    lines += [f"| all | {sum(seconds.values()):.1f} |"]
    return "\n".join(lines) + "\n"


def _row(system: SystemResult, mark: str, characters: bool) -> str:
    chosen = system.dev or system.eval
    assert chosen is not None
    rates = [f"{r['wer']:.2f}" if r else "" for r in (system.dev, system.eval)]
    if characters:
        rates += [f"{r['cer']:.2f}" if r else "" for r in (system.dev_characters, system.eval_characters)]
    weights = f"{chosen['lmwt']:g}, {chosen['wip']:g}"
    return f"| {system.name}{mark} | {' | '.join(rates)} | {weights} | {_scorer(system)} |"


def _scorer(system: SystemResult) -> str:
    """Return the scorer, and whether sclite agrees."""
    records = [r for r in (system.dev, system.eval) if r]
    name = " and ".join(sorted({f"{r['scorer']} {r['rules']}" for r in records}))
    if not all(r["sclite"] for r in records):
        return name
    agree = all(all(r["sclite"][key] == r[key] for key in r["sclite"]) for r in records)
    return f"{name}, {'same by sclite' if agree else 'sclite differs'}"


def _subset_rows(system: SystemResult, mark: str) -> list[str]:
    subsets = system.eval["subsets"] if system.eval else {}
    rates = {n: "-" if s["wer"] is None else f"{s['wer']:.2f}" for n, s in subsets.items()}
    return [f"| {system.name}{mark}, {n} | {rates[n]} | {s['errors']} | {s['words']} |" for n, s in subsets.items()]
