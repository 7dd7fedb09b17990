#!/usr/bin/env python3
"""A Kaldi data directory of one or more parts of LibriSpeech (OpenSLR 12) or mini LibriSpeech (OpenSLR 31).

DIR/LibriSpeech/dev-clean/1272/128104/1272-128104.trans.txt     1272-128104-0000 MISTER QUILTER IS ...
DIR/LibriSpeech/dev-clean/1272/128104/1272-128104-0000.flac     16 kHz

A speaker is a reader, whatever the chapter.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from asr_parallel.corpus.kaldi_tables import SpokenUtterance, write_kaldi_directory
from asr_parallel.record.files import read_text_lines


def find_part(corpus: Path, part: str) -> Path:
    """Return the folder of a part, such as dev-clean, in DIR/LibriSpeech or DIR."""
    root = corpus / "LibriSpeech" if (corpus / "LibriSpeech").is_dir() else corpus
    if not (root / part).is_dir():
        there = sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
        found = ", ".join(there[:10]) or "no folder"
        raise ValueError(f"{root}: no part {part} of LibriSpeech; found {found}")
    return root / part


def read_utterances(part: Path) -> Iterator[SpokenUtterance]:
    """Yield the utterances of a part."""
    transcripts = sorted(part.glob("*/*/*.trans.txt"))
    if not transcripts:
        raise ValueError(f"{part}: expected READER/CHAPTER/READER-CHAPTER.trans.txt in it, found none")
    for path in transcripts:
        reader, chapter = path.parts[-3:-1]
        for n, line in enumerate(read_text_lines(path), 1):
            if not line.strip():
                continue
            key, *words = line.split()
            if not key.startswith(f"{reader}-{chapter}-"):
                raise ValueError(f"{path}: line {n}: {key!r}: expected an utterance of {reader}-{chapter}")
            yield SpokenUtterance(key, path.with_name(f"{key}.flac"), reader, " ".join(words))


def main() -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help="folder with LibriSpeech, or LibriSpeech itself")
    parser.add_argument("--part", action="append", required=True, help="such as train-clean-100; may be repeated")
    parser.add_argument("--out", type=Path, required=True, help="Kaldi data directory to write")
    args = parser.parse_args()
    try:
        parts = [find_part(args.corpus, part) for part in args.part]
        write_kaldi_directory(args.out, (one for part in parts for one in read_utterances(part)))
    except (OSError, ValueError) as error:
        sys.exit(f"librispeech_data.py: error: {error}")


if __name__ == "__main__":
    main()
