"""Record of the items left out of a data set, with reasons, and the check that they are not too many."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from asr_parallel.record.files import write_lines
from asr_parallel.record.log import logger

MAX_BAD_SHARE = 0.05  # a few damaged files do no harm; one in twenty suggests the wrong corpus or a broken copy
MAX_OVERSHOOT_SECONDS = (
    0.5  # a segment that ends at most this much after its recording is cut (as in Kaldi's extract-segments)
)
DROPPED_FILE = "dropped.txt"


@dataclass
class Dropped:
    """Items of one kind that were left out of a data set.

    unit: the kind, in the plural.
    bad: (item, reason) of faulty items; they count against the limit.
    quiet: (item, reason) of items that are left out as usual, such as segments of silence only.
    """

    unit: str = "segments"
    bad: list[tuple[str, str]] = field(default_factory=list)
    quiet: list[tuple[str, str]] = field(default_factory=list)

    def check(self, set_name: str, kept: int, max_bad_share: float) -> None:
        """Log the items left out and check that the bad ones are not too many.

        Raises:
            ValueError: nothing is kept, or more than `max_bad_share` of the bad and kept items are bad; the message
                names the first.
        """
        first = f"; the first: {self.bad[0][0]}: {self.bad[0][1]}" if self.bad else ""
        total = len(self.bad) + kept
        if kept == 0:
            raise ValueError(f"data set {set_name}: none of {total} {self.unit} is usable{first}")
        if len(self.bad) > max_bad_share * total:
            raise ValueError(
                f"data set {set_name}: {len(self.bad)} of {total} {self.unit} are bad, more than --max-bad-share"
                f" {max_bad_share:g} allows{first}"
            )
        for what, reason in self.bad:
            logger.warning("data set %s: dropped %s: %s", set_name, what, reason)
        for reason, count in Counter(reason for _, reason in self.quiet).items():
            logger.info("data set %s: %d %s left out: %s", set_name, count, self.unit, reason)


def write_dropped(folder: Path, all_dropped: Sequence[Dropped]) -> None:
    """Write `folder`/dropped.txt, one item a line, bad ones first."""
    lines = [entry for dropped in all_dropped for entry in dropped.bad]
    lines += [entry for dropped in all_dropped for entry in dropped.quiet]
    write_lines(folder / DROPPED_FILE, (f"{what}: {reason}" for what, reason in lines))


def fit_times(start: float, end: float, recording_seconds: float) -> tuple[float, float]:
    """Return start and end in seconds; an end slightly after that of the recording is cut.

    Raises:
        ValueError: not finite, negative, reversed, or past the end of the recording.
    """
    if not 0.0 <= start < float("inf") or not 0.0 <= end < float("inf"):
        raise ValueError(f"times {start:g} to {end:g} s are not two times of a recording")
    if end <= start:
        raise ValueError(f"reversed or empty: {start:g} to {end:g} s")
    if end > recording_seconds + MAX_OVERSHOOT_SECONDS or start >= recording_seconds:
        raise ValueError(f"past the end: {start:g} to {end:g} s of a recording of {recording_seconds:g} s")
    return start, min(end, recording_seconds)
