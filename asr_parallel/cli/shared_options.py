"""Options that several verbs have."""

from dataclasses import dataclass

from asr_parallel.corpus.validate import MAX_BAD_SHARE
from asr_parallel.record.environment import cpu_count
from asr_parallel.record.options import Checked, option


@dataclass(frozen=True)
class JobOptions(Checked):
    """Work side by side; the result does not depend on it."""

    jobs: int | None = option(None, "processes or threads at a time", least=1, unset="the cores")

    @property
    def count(self) -> int:
        """The number of jobs."""
        return self.jobs or cpu_count()


@dataclass(frozen=True)
class BadInputOptions(Checked):
    """Bad input."""

    max_bad_share: float = option(
        MAX_BAD_SHARE, "of recordings, sides or utterances, left out with a warning before it is an error",
        least=0, most=1,
    )  # fmt: skip
