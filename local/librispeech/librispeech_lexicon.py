#!/usr/bin/env python3
"""A lexicon without lexical stress: AH0, AH1 and AH2 of librispeech-lexicon.txt (OpenSLR 11) become AH.

A tree of small systems would otherwise grow apart for what sounds alike.
"""

import argparse
import re
import sys
from pathlib import Path

from asr_parallel.record.files import read_text_lines, write_lines

STRESSED = re.compile(r"([A-Z]+)[012]")


def without_stress(line: str) -> str:
    """Return a line "WORD PHONE PHONE ..." without stress marks; the word may look like a phone."""
    word, *phones = line.split() or [""]
    return " ".join([word, *(STRESSED.sub(r"\1", phone) for phone in phones)])


def main() -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lexicon", type=Path, required=True, help="lines 'WORD PHONE PHONE ...'")
    parser.add_argument("--out", type=Path, required=True, help="lexicon to write")
    args = parser.parse_args()
    try:
        if not args.lexicon.is_file():
            raise ValueError(f"{args.lexicon}: no such lexicon; expected librispeech-lexicon.txt")
        lines = dict.fromkeys(without_stress(line) for line in read_text_lines(args.lexicon) if line.strip())
        write_lines(args.out, lines)
    except (OSError, ValueError) as error:
        sys.exit(f"librispeech_lexicon.py: error: {error}")


if __name__ == "__main__":
    main()
