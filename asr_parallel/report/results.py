"""The results of an experiment folder as Markdown: word error rates of its systems, seconds of its stages."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr_parallel.record.files import list_files, read_json
from asr_parallel.record.stage import RECORD

SYSTEMS = ("mono", "tri", "dnn")  # first and in this order; others follow by name
FIRST_SETS = ("dev", "eval")  # likewise
DECODE = "decode_"  # a system's folder for a set
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
    """The scores of one system: contents of wer.json and of cer.json by set, those sets that were scored."""

    name: str
    words: dict[str, dict[str, Any]]
    characters: dict[str, dict[str, Any]]


def system_results(exp: Path) -> list[SystemResult]:
    """Return all systems of an experiment that were scored on any set."""
    names = {path.parents[2].name for path in exp.glob(f"*/{DECODE}*/scoring/wer.json")}
    return [
        SystemResult(name, _scored(exp / name, "wer"), _scored(exp / name, "cer")) for name in _in_order(names, SYSTEMS)
    ]


def _scored(system: Path, rate: str) -> dict[str, dict[str, Any]]:
    found = {path.parents[1].name.removeprefix(DECODE): path for path in system.glob(f"{DECODE}*/scoring/{rate}.json")}
    return {name: read_json(found[name]) for name in _in_order(found, FIRST_SETS)}


def _in_order(names: Iterable[str], first: Sequence[str]) -> list[str]:
    """Return names in order: some first, then the others by name."""
    return sorted(names, key=lambda name: (first.index(name) if name in first else len(first), name))


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
    sets = _in_order({name for system in systems for name in system.words}, FIRST_SETS)
    characters = any(system.characters for system in systems)
    lines = [f"# Word{' and character' if characters else ''} error rates in {exp}{kind}", ""]
    rates = [f"{name} {rate} %" for rate in (("WER", "CER") if characters else ("WER",)) for name in sets]
    lines += [f"| system | {' | '.join(rates)} | LM weight, word penalty | scorer |"]
    lines += [f"|---|{'--:|' * len(rates)}---|---|"]
    mark = ", synthetic" if synthetic else ""
    lines += [_row(system, sets, mark, characters) for system in systems]
    for name in sets:
        if subsets := [line for system in systems for line in _subset_rows(system, name, mark)]:
            lines += ["", f"| part of {name} | WER % | errors | words |", "|---|--:|--:|--:|", *subsets]
    seconds = stage_seconds(exp)
    lines += ["", "| stage | seconds |", "|---|--:|"]
    lines += [f"| {number} {STAGES[number]} | {time:.1f} |" for number, time in seconds.items()]
    lines += [f"| all | {sum(seconds.values()):.1f} |"]
    return "\n".join(lines) + "\n"


def _row(system: SystemResult, sets: Sequence[str], mark: str, characters: bool) -> str:
    rates = [f"{system.words[name]['wer']:.2f}" if name in system.words else "" for name in sets]
    if characters:
        rates += [f"{system.characters[name]['cer']:.2f}" if name in system.characters else "" for name in sets]
    return f"| {system.name}{mark} | {' | '.join(rates)} | {_weights(system)} | {_scorer(system)} |"


def _weights(system: SystemResult) -> str:
    """Return LM weight and word penalty, with the sets where not all have the same."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, record in system.words.items():
        found[f"{record['lmwt']:g}, {record['wip']:g}"].append(name)
    if len(found) == 1:
        return next(iter(found))
    return "; ".join(f"{weights} ({' '.join(names)})" for weights, names in found.items())


def _scorer(system: SystemResult) -> str:
    """Return the scorer, and whether sclite agrees."""
    records = system.words.values()
    name = " and ".join(sorted({f"{r['scorer']} {r['rules']}" for r in records}))
    if not all(r["sclite"] for r in records):
        return name
    agree = all(all(r["sclite"][key] == r[key] for key in r["sclite"]) for r in records)
    return f"{name}, {'same by sclite' if agree else 'sclite differs'}"


def _subset_rows(system: SystemResult, name: str, mark: str) -> list[str]:
    subsets = system.words[name]["subsets"] if name in system.words else {}
    rates = {n: "-" if s["wer"] is None else f"{s['wer']:.2f}" for n, s in subsets.items()}
    return [f"| {system.name}{mark}, {n} | {rates[n]} | {s['errors']} | {s['words']} |" for n, s in subsets.items()]
