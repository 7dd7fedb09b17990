"""Kaldi's ali.*.gz from this package's alignments: the archives that `alignments` reads."""

import gzip
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from asr_parallel.features.kaldi_writer import sorted_utterances
from asr_parallel.hmm.alignment import AlignmentSet
from asr_parallel.hmm.kaldi.alignments import ELEMENT
from asr_parallel.hmm.kaldi.object_reader import BINARY, INT32
from asr_parallel.record.files import atomic_file, write_text


def write_alignments(folder: Path, alignments: AlignmentSet, num_jobs: int, binary: bool) -> None:
    """Write ali.1.gz, ali.2.gz, ... and num_jobs; each file has a run of utterances, sorted bytewise by their ids.

    Raises:
        ValueError: fewer utterances than jobs, none of which may be empty.
    """
    if num_jobs > len(alignments):
        raise ValueError(f"num_jobs {num_jobs}: expected at most one for each of {len(alignments)} aligned utterances")
    order = sorted_utterances(alignments.ids)
    for job, some in enumerate(np.array_split(np.array(order), num_jobs), 1):
        data = archive_bytes(((alignments.ids[u], alignments[u]) for u in some.tolist()), binary)
        with atomic_file(folder / f"ali.{job}.gz") as temp:
            temp.write_bytes(gzip.compress(data, mtime=0))
    write_text(folder / "num_jobs", f"{num_jobs}\n")


def archive_bytes(alignments: Iterable[tuple[str, Sequence[int] | np.ndarray]], binary: bool) -> bytes:
    """Return an archive of (utterance, transition ids)."""
    data = bytearray()
    for utterance, ids in alignments:
        data += utterance.encode() + b" "
        if binary:
            elements = np.empty(len(ids), dtype=ELEMENT)
            elements["size"], elements["value"] = INT32, ids
            data += BINARY + bytes([INT32]) + len(ids).to_bytes(4, "little") + elements.tobytes()
        else:
            data += b"".join(f"{n} ".encode() for n in ids) + b"\n"
    return bytes(data)
