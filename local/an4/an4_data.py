#!/usr/bin/env python3
"""Kaldi data directories train, dev and test of CMU's AN4 ("census"), from the layout of its archives.

DIR/etc/an4_train.fileids          an4_clstk/fash/an251-fash-b            a file below wav/, without its suffix
DIR/etc/an4_train.transcription    <s> YES </s> (an251-fash-b)            likewise an4_test.*
DIR/wav/an4_clstk/fash/an251-fash-b.sph                                   or .wav, .flac, or .raw without a header

AN4 has no development set: some speakers of its training part become one.
"""

import argparse
import re
import sys
from pathlib import Path

import numpy as np
import soundfile

from asr_parallel.corpus.kaldi_tables import SpokenUtterance, write_kaldi_directory
from asr_parallel.record.files import atomic_file, read_text_lines

SAMPLING_RATE = 16000  # of the files without a header
WITH_HEADER = (".sph", ".wav", ".flac")
BYTE_ORDERS = {"big": ">i2", "little": "<i2"}
TRANSCRIPT = re.compile(r"(.*)\(([^()\s]+)\)\s*")
SENTENCE_MARKS = {"<s>", "</s>"}


def read_transcripts(path: Path) -> dict[str, str]:
    """Return name of the file -> words, of lines "<s> WORDS </s> (NAME)"."""
    transcripts = {}
    for n, line in enumerate(_lines(path), 1):
        found = TRANSCRIPT.fullmatch(line)
        if found is None:
            raise ValueError(f"{path}: line {n}: expected 'WORDS (FILE)', got {line!r}")
        transcripts[found[2]] = " ".join(word for word in found[1].split() if word.lower() not in SENTENCE_MARKS)
    return transcripts


def read_part(corpus: Path, part: str, converted: Path, byte_order: str | None) -> list[SpokenUtterance]:
    """Return the utterances of a part, train or test.

    Args:
        converted: folder for FLAC files, which are made of files without a header.
        byte_order: of those.
    """
    lists = corpus / "etc" / f"an4_{part}.fileids"
    transcripts = read_transcripts(lists.with_suffix(".transcription"))
    utterances = []
    for n, line in enumerate(_lines(lists), 1):
        file = line.strip()
        name = file.rpartition("/")[2]
        if name.count("-") != 2 or name not in transcripts:
            problem = "has no transcript" if name.count("-") == 2 else "expected a name such as an251-fash-b"
            raise ValueError(f"{lists}: line {n}: {name!r}: {problem}")
        text, speaker, microphone = name.split("-")
        key = f"{speaker}-{text}-{microphone}"  # as Kaldi wants it, the speaker first
        audio = find_audio(corpus / "wav" / file, converted / f"{key}.flac", byte_order)
        utterances.append(SpokenUtterance(key, audio, speaker, transcripts[name]))
    return utterances


def find_audio(stem: Path, converted: Path, byte_order: str | None) -> Path:
    """Return the audio file of that name, converted where it has no header; a lost one is reported by who reads it."""
    candidates = [stem.with_name(stem.name + suffix) for suffix in WITH_HEADER]
    raw = stem.with_name(stem.name + ".raw")
    found = [path for path in candidates if path.is_file()]
    if found or not raw.is_file():
        return found[0] if found else candidates[0]
    if byte_order is None:
        raise ValueError(
            f"{raw}: samples without a header; say --byte-order big or little, as the name of CMU's archive does"
        )
    data = raw.read_bytes()
    samples = np.frombuffer(data[: len(data) // 2 * 2], BYTE_ORDERS[byte_order]).astype(np.int16)
    with atomic_file(converted) as file:
        soundfile.write(file, samples, SAMPLING_RATE, format="FLAC", subtype="PCM_16")
    return converted


def hold_out(utterances: list[SpokenUtterance], speakers: int) -> set[str]:
    """Return so many speakers for the development set: evenly spaced in the order of names, so women and men alike."""
    names = sorted({one.speaker for one in utterances})
    if not 1 <= speakers < len(names):
        raise ValueError(f"--dev-speakers {speakers}: expected 1 to {len(names) - 1}, one less than there are")
    return {names[(2 * n + 1) * len(names) // (2 * speakers)] for n in range(speakers)}


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise ValueError(f"{path}: no such file; expected CMU's AN4: etc/an4_train.fileids, wav/an4_clstk and others")
    return [line for line in read_text_lines(path) if line.strip()]


def prepare(corpus: Path, out: Path, dev_speakers: int, byte_order: str | None) -> None:
    """Write out/train, out/dev and out/test."""
    parts = {part: read_part(corpus, part, out / "audio", byte_order) for part in ("train", "test")}
    held_out = hold_out(parts["train"], dev_speakers)
    write_kaldi_directory(out / "train", (one for one in parts["train"] if one.speaker not in held_out))
    write_kaldi_directory(out / "dev", (one for one in parts["train"] if one.speaker in held_out))
    write_kaldi_directory(out / "test", parts["test"])


def main() -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help="folder with etc and wav")
    parser.add_argument("--out", type=Path, required=True, help="folder for train, dev and test")
    parser.add_argument("--dev-speakers", type=int, default=7, help="of the training part, for dev")
    parser.add_argument("--byte-order", choices=tuple(BYTE_ORDERS), help="of .raw files")
    args = parser.parse_args()
    try:
        prepare(args.corpus, args.out, args.dev_speakers, args.byte_order)
    except (OSError, ValueError) as error:
        sys.exit(f"an4_data.py: error: {error}")


if __name__ == "__main__":
    main()
