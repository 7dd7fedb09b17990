"""`python -m asr_parallel` is `asr-parallel`."""

import sys

from asr_parallel.cli.main import main

sys.exit(main())
