"""What was left out of a data set and why: counted, written down, and an error when it is too much."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from asr_parallel.record.files import write_lines
from asr_parallel.record.log import logger

MAX_BAD_SHARE = 0.05  # a few damaged files do no harm; one in twenty means the wrong corpus or a broken copy
FILE = "dropped.txt"


@dataclass
class Dropped:
    """Utterances left out of one data set.

    bad: (what, reason) of what is wrong; counts against the limit.
    quiet: (what, reason) of what is left out as a matter of course, such as segments of silence only.
    """

    bad: list[tuple[str, str]] = field(default_factory=list)
    quiet: list[tuple[str, str]] = field(default_factory=list)

    def finish(self, folder: Path, set_name: str, kept: int, max_bad_share: float) -> None:
        """Write a line each to `folder`/dropped.txt and log the counts.

        Raises:
            ValueError: nothing is kept, or the bad ones exceed `max_bad_share` of the bad and the kept; the line
                names the first of them.
        """
        first = f"; the first: {self.bad[0][0]}: {self.bad[0][1]}" if self.bad else ""
        if kept == 0:
            raise ValueError(f"data set {set_name}: no usable utterance{first or '; expected at least one'}")
        share = len(self.bad) / (len(self.bad) + kept)
        if share > max_bad_share:
            raise ValueError(
                f"data set {set_name}: {len(self.bad)} of {len(self.bad) + kept} utterances are bad, more than the"
                f" limit --max-bad-share {max_bad_share:g}{first}"
            )
        write_lines(folder / FILE, (f"{what} {reason}" for what, reason in self.bad + self.quiet))
        for what, reason in self.bad:
            logger.warning("data set %s: dropped %s: %s", set_name, what, reason)
        for reason, count in Counter(reason for _, reason in self.quiet).items():
            logger.info("data set %s: %d left out: %s", set_name, count, reason)
