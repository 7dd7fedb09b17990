"""The alignments of a scored decode, one utterance (or stm segment) a line of JSON: scoring/alignments.jsonl.

    {"name": utterance, "speaker": ..., "recording": ..., "reference": text, "steps": [["C", 1, "one", "one"], ...]}

`reference` is the text that was aligned, after the rules of scoring; the steps are those of edit_distance.py.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from asr_parallel.decode.edit_distance import KINDS, AlignmentStep, Counts, count_steps, total
from asr_parallel.record.files import read_json, read_lines, write_lines

ALIGNMENTS = "alignments.jsonl"


@dataclass(frozen=True)
class AlignedUtterance:
    """An utterance, or a segment of an stm file, and the alignment of its hypothesis."""

    name: str
    speaker: str
    recording: str
    reference: str
    steps: list[AlignmentStep]

    @cached_property
    def counts(self) -> Counts:
        return count_steps(self.steps)


@dataclass(frozen=True)
class ScoredDecode:
    """A decode folder that was scored.

    scorer: name and rules of the scorer. lmwt, wip: LM weight and word insertion penalty used.
    """

    folder: Path
    scorer: str
    lmwt: float
    wip: float
    utterances: list[AlignedUtterance]

    @classmethod
    def open(cls, decode_folder: Path) -> "ScoredDecode":
        """Read the scoring results of a decode folder.

        Raises:
            ValueError: it was not scored, has no alignments, or a file cannot be read.
        """
        scoring = decode_folder / "scoring"
        if not (scoring / "wer.json").is_file():
            raise ValueError(f"{decode_folder}: not scored; expected scoring/wer.json made by score")
        if not (scoring / ALIGNMENTS).is_file():
            raise ValueError(f"{decode_folder}: scored without keeping alignments; run score again")
        record = read_json(scoring / "wer.json")
        try:
            scorer = f"{record['scorer']} {record['rules']}"
            weights = float(record["lmwt"]), float(record["wip"])
        except KeyError as error:
            raise ValueError(f"{scoring / 'wer.json'}: no {error}; expected a file made by score") from None
        return cls(decode_folder, scorer, *weights, read_alignments(scoring / ALIGNMENTS))

    @property
    def counts(self) -> Counts:
        """The counts of the whole set."""
        return total(u.counts for u in self.utterances)

    def per_utterance(self) -> dict[str, Counts]:
        """Return utterance (or stm segment) -> its counts, in the order of scoring."""
        return {u.name: u.counts for u in self.utterances}

    def per_speaker(self) -> dict[str, Counts]:
        """Return speaker -> its counts, by name."""
        counts: dict[str, Counts] = {}
        for u in self.utterances:
            counts[u.speaker] = counts.get(u.speaker, Counts()) + u.counts
        return dict(sorted(counts.items()))


def write_alignments(path: Path, utterances: Iterable[AlignedUtterance]) -> None:
    """Write alignments, a line each."""
    fields = (
        {"name": u.name, "speaker": u.speaker, "recording": u.recording, "reference": u.reference, "steps": u.steps}
        for u in utterances
    )
    write_lines(path, (json.dumps(line, ensure_ascii=False, separators=(",", ":")) for line in fields))


def read_alignments(path: Path) -> list[AlignedUtterance]:
    """Read what write_alignments wrote.

    Raises:
        ValueError: a line is not an alignment (with its number).
    """
    utterances = []
    for n, line in enumerate(read_lines(path), 1):
        try:
            fields = json.loads(line)
            steps = [AlignmentStep(*step) for step in fields.pop("steps")]
            if any(step.kind not in set(KINDS) for step in steps):
                raise ValueError(f"expected steps of the kinds {', '.join(KINDS)}")
            utterances.append(AlignedUtterance(**fields, steps=steps))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"{path}: line {n} is no alignment: {error}") from None
    return utterances
