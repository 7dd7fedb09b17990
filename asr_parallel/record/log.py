"""The package's logger: time, level and place, on standard error."""

import logging
import sys

logger = logging.getLogger("asr_parallel")


def set_up_logging(verbose: bool = False) -> None:
    """Send the package's log to standard error; `verbose` adds debug lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s (%(filename)s:%(lineno)d) %(message)s", "%H:%M:%S"))
    logger.handlers[:] = [handler]
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    logger.propagate = False
