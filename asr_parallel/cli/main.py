"""The entry point of `asr-parallel`."""

import sys

from asr_parallel.record.program import VERBS, build_parser, main

__all__ = ["VERBS", "build_parser", "main"]

if __name__ == "__main__":
    sys.exit(main())
