"""Import of features that Kaldi has made, as a feature archive: feats.scp, utt2spk and cmvn.scp of a data directory.

The matrices are read by kaldi_native_io, which is Kaldi's own code for its files. It also runs commands where a file's
name is one; no such name comes to it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asr_parallel.corpus.kaldi_dir import plain_file, read_table
from asr_parallel.corpus.validate import MAX_BAD_SHARE, Dropped
from asr_parallel.features.archive import FeatureArchive, write_archive
from asr_parallel.features.cmvn import CmvnStats
from asr_parallel.features.config import KIND_FILE
from asr_parallel.record.files import write_json
from asr_parallel.record.log import logger
from asr_parallel.record.optional import require
from asr_parallel.record.options import Checked, option
from asr_parallel.record.progress_bar import progress

KIND = "kaldi"
CMVN = ("none", "mean", "mean-var")
EXPECTED = "feats.scp, utt2spk and, to normalise features, cmvn.scp"
# "file", "file:offset", either with a range of rows and columns "[0:9,0:12]"
LOCATION = re.compile(r"(?P<file>.*?)(?P<offset>:\d+)?(?P<range>\[[\d:,]*\])?")


@dataclass(frozen=True)
class KaldiFeatureOptions(Checked):
    """Features made by Kaldi."""

    cmvn: str | None = option(
        None, "what cmvn.scp normalises per speaker, as in Kaldi's apply-cmvn", choices=CMVN,
        unset="mean where there is a cmvn.scp, else none",
    )  # fmt: skip

    def of(self, data: Path) -> str:
        """Return the choice, for a data directory where none was made."""
        return self.cmvn or ("mean" if (data / "cmvn.scp").is_file() else "none")


@dataclass(frozen=True)
class KaldiMatrices:
    """The matrices that an scp file names.

    files: key -> file. locations: key -> file, offset and range, as kaldi_native_io wants them.
    """

    scp: Path
    files: dict[str, Path]
    locations: dict[str, str]

    @classmethod
    def open(cls, scp: Path) -> "KaldiMatrices":
        """Read an scp file, but none of the matrices.

        Raises:
            ValueError: no such file, a duplicate key, or a command instead of a file.
        """
        files, locations = {}, {}
        for key, value in read_table(scp, EXPECTED).items():
            found = LOCATION.fullmatch(value)
            assert found is not None
            files[key] = plain_file(scp, key, found["file"].strip())
            locations[key] = f"{files[key].absolute()}{found['offset'] or ''}{found['range'] or ''}"
        return cls(scp, files, locations)

    def read(self, key: str, double: bool = False) -> np.ndarray:
        """Read a matrix, (rows, columns) float32, or float64 with `double`.

        Raises:
            ValueError: no such key or file, or not a matrix of Kaldi's.
        """
        if key not in self.files:
            raise ValueError(f"{key} is not in {self.scp}")
        if not self.files[key].is_file():
            raise ValueError(
                f"{self.scp}: no file {self.files[key]}; relative paths count from the working directory, as in Kaldi,"
                " or else from the scp file's folder"
            )
        io = _library()
        try:
            matrix = (io.DoubleMatrix if double else io.FloatMatrix).read(self.locations[key])
        except (RuntimeError, MemoryError, UnicodeDecodeError) as error:  # the last where a message quotes bytes
            said = str(error).rpartition("[E] ")[2]
            raise ValueError(f"{self.locations[key]}: not a matrix, or truncated: {' '.join(said.split())}") from error
        return np.array(matrix.numpy())


def _library() -> Any:
    return require("kaldi_native_io", "kaldi", "reading features made by Kaldi")


def feature_inputs(data: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Return the files of a data directory that its features depend on, and the archives that its scp files name."""
    tables = [data / name for name in ("feats.scp", "cmvn.scp", "utt2spk") if (data / name).is_file()]
    named = {path for scp in tables if scp.suffix == ".scp" for path in KaldiMatrices.open(scp).files.values()}
    archives = {f"archive {n}": path for n, path in enumerate(sorted(named))}
    return {path.name: path for path in tables}, archives


def read_cmvn_opts(path: Path) -> tuple[bool, bool]:
    """Return whether apply-cmvn normalises means and variances, as the cmvn_opts of a model says.

    Raises:
        ValueError: other options.
    """
    given = {"--norm-means": True, "--norm-vars": False}  # Kaldi: src/featbin/apply-cmvn.cc
    for word in path.read_text(encoding="utf-8", errors="replace").split():
        name, _, value = word.partition("=")
        if name not in given or value not in ("true", "false"):
            raise ValueError(f"{path}: {word!r}; expected --norm-means=true or --norm-vars=false, and the like")
        given[name] = value == "true"
    return given["--norm-means"], given["--norm-vars"]


def import_features(
    data: Path, folder: Path, options: KaldiFeatureOptions, max_bad_share: float = MAX_BAD_SHARE
) -> Dropped:
    """Write the features of a Kaldi data directory as an archive into `folder`; return what was left out.

    An utterance is left out when it has no speaker or its speaker no line in cmvn.scp, or when its matrix cannot be
    read, is empty or not finite or has another number of columns than the first.

    Raises:
        ValueError: a missing or malformed file, a command instead of a file, or too much left out.
    """
    _library()
    matrices, speakers = KaldiMatrices.open(data / "feats.scp"), read_table(data / "utt2spk", EXPECTED)
    if (data / "utt2uniq").is_file():
        logger.warning("%s: perturbed copies, by utt2uniq; they count as speakers and utterances of their own", data)
    cmvn = options.of(data)
    normaliser = None if cmvn == "none" else _SpeakerCmvn(KaldiMatrices.open(data / "cmvn.scp"), cmvn == "mean-var")
    dropped, kept, columns = Dropped("utterances"), 0, 0

    def written() -> Iterator[tuple[str, str, np.ndarray]]:
        nonlocal kept, columns
        for key in progress(list(matrices.files), f"features of {data.name}", unit="utterances"):
            speaker = speakers.get(key, "")
            try:
                if len(speaker.split()) != 1:
                    raise ValueError(f"utt2spk: {speaker!r} is not one word" if speaker else "no speaker in utt2spk")
                matrix = matrices.read(key)
                columns = columns or matrix.shape[-1]
                if not matrix.size or matrix.shape[1] != columns:
                    raise ValueError(f"a matrix of shape {matrix.shape}; expected rows of {columns or 'some'} columns")
                if normaliser is not None:
                    matrix = normaliser.apply(speaker, matrix)
                if not np.isfinite(matrix).all():
                    raise ValueError("a feature is not finite")
            except ValueError as error:
                dropped.bad.append((key, str(error)))
                continue
            kept += 1
            yield key, speaker, matrix
        dropped.check(data.name, kept, max_bad_share)

    write_archive(folder, written())
    write_json(folder / KIND_FILE, {"kind": KIND, "settings": {"cmvn": cmvn}})
    CmvnStats.from_archive(FeatureArchive.open(folder)).save(folder / "cmvn.npz")
    return dropped


class _SpeakerCmvn:
    """The normalisation of each speaker by statistics of cmvn.scp (Kaldi: src/transform/cmvn.cc)."""

    def __init__(self, matrices: KaldiMatrices, norm_vars: bool) -> None:
        self._matrices, self._norm_vars = matrices, norm_vars
        self._of_speaker: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def apply(self, speaker: str, features: np.ndarray) -> np.ndarray:
        """Return normalised features; ValueError when the speaker's statistics are missing or not of such features."""
        if speaker not in self._of_speaker:
            self._of_speaker[speaker] = self._read(speaker)
        shift, scale = self._of_speaker[speaker]
        if len(shift) != features.shape[1]:
            raise ValueError(f"{features.shape[1]} columns of features, cmvn.scp is of {len(shift)}")
        return features * scale + shift

    def _read(self, speaker: str) -> tuple[np.ndarray, np.ndarray]:
        """Return shift and scale from the sums, with the count at the end, and the sums of squares."""
        stats = self._matrices.read(speaker, double=True)
        rows, wanted = (2, "2 rows") if self._norm_vars else (1, "1 or 2 rows")
        if not (rows <= len(stats) <= 2 and np.isfinite(stats).all() and stats[0, -1] >= 1):
            raise ValueError(
                f"cmvn.scp: speaker {speaker}: expected {wanted} of finite sums, and a count of 1 or more at"
                f" the end of the first; found {len(stats)} rows"
            )
        squares = stats[1:2, :-1] if len(stats) == 2 else np.zeros((1, stats.shape[1] - 1))
        one = CmvnStats([speaker], stats[0, -1:], stats[:1, :-1], squares)
        shift, scale = one.shift_and_scale(self._norm_vars)
        return shift[0], scale[0]
