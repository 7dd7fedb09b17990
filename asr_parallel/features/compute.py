"""Feature extraction from a data folder, in batches and in parallel processes."""

import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import cached_property, lru_cache
from itertools import groupby
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from asr_parallel.corpus.audio import inspect_audio, read_audio
from asr_parallel.corpus.datadir import Utterance, read_utterances
from asr_parallel.corpus.validate import MAX_BAD_SHARE, Dropped
from asr_parallel.features.archive import FeatureArchive, write_archive
from asr_parallel.features.augment import Perturbation, change_speed, perturbations
from asr_parallel.features.cmvn import CmvnStats
from asr_parallel.features.config import KIND_FILE
from asr_parallel.features.extractors import BACKENDS, DITHER, FRAME_LENGTH_SECONDS, KINDS, open_extractor
from asr_parallel.record.child_processes import exit_with_parent
from asr_parallel.record.files import read_json, write_json, write_lines
from asr_parallel.record.log import logger
from asr_parallel.record.options import check, option
from asr_parallel.record.progress_bar import progress
from asr_parallel.record.threads import one_thread

BATCH_SECONDS = 60.0  # audio in one call: long enough to amortise its overhead, short enough for the cache
PROCESSES_FROM_SECONDS = 1200.0  # for less audio it takes longer to start processes
COPIES = "copies.json"

_extractor = lru_cache(maxsize=64)(open_extractor)


@dataclass(frozen=True)
class FeatureOptions:
    """Features."""

    kind: str = option("mfcc", "40 filters: fbank", choices=tuple(KINDS))
    feature_backend: str = option(BACKENDS[0], "all give the same to 1e-2", choices=BACKENDS)
    dither: float = option(
        DITHER, "white noise in all audio, standard deviation in 16-bit steps; 0: none", least=0,
        source="Kaldi feat/feature-window.h",
    )  # fmt: skip
    noise_floors_db: tuple[float, ...] = option(
        (), "level of white noise below each utterance's speech level, which masks differences in recording noise; "
        "several: copies", metavar="DB,DB", unset="none",
    )  # fmt: skip
    seed: int = option(0, "of the noise", least=0)
    speed_factors: tuple[float, ...] = option((1.0,), "copies at these speeds", metavar="F,F")
    warp_factors: tuple[float, ...] = option((1.0,), "copies with these vocal-tract length factors", metavar="F,F")

    def __post_init__(self) -> None:
        """Raise ValueError for an option out of range."""
        check(self)
        _ = self.copies

    @cached_property
    def copies(self) -> list[Perturbation]:
        """The perturbed copies of each utterance."""
        return perturbations(self.speed_factors, self.warp_factors, self.noise_floors_db)


@dataclass(frozen=True, slots=True)
class _Computed:
    """The features of one copy of one utterance."""

    id: str
    speaker: str
    source_id: str
    copy: Perturbation
    sample_rate: int
    matrix: np.ndarray


@dataclass(frozen=True, slots=True)
class _Batch:
    """The features of some utterances. bad: (id, reason) of unreadable ones. silent: ids of all-zero ones."""

    computed: list[_Computed] = field(default_factory=list)
    bad: list[tuple[str, str]] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)


def compute_features(
    data: Path, out: Path, options: FeatureOptions, jobs: int = 1, max_bad_share: float = MAX_BAD_SHARE
) -> None:
    """Compute features of all utterances of a data folder and write an archive with kind.json and cmvn.npz into `out`.

    With perturbed copies, copies.json gives their origin: id -> [id of the original, speed, warp].
    Utterances that are too short for one frame or cannot be read are left out and listed in skipped.txt.
    The result does not depend on `jobs`.

    Raises:
        ValueError: not a data folder, more than `max_bad_share` unreadable audio, or no utterance with
            a frame.
    """
    utterances = read_utterances(data)
    skipped: list[str] = []
    silent: list[str] = []
    dropped = Dropped("utterances")
    origins: dict[str, tuple[str, float, float]] = {}
    rates: set[int] = set()

    def written() -> Iterator[tuple[str, str, np.ndarray]]:
        for batch in _compute_all(utterances, options, jobs):
            dropped.bad.extend(batch.bad)
            silent.extend(batch.silent)
            for one in batch.computed:
                if not len(one.matrix):
                    skipped.append(one.id)
                    continue
                if one.copy.prefix:
                    origins[one.id] = (one.source_id, one.copy.speed, one.copy.warp)
                rates.add(one.sample_rate)
                yield one.id, one.speaker, one.matrix
        dropped.check(data.name, len(utterances) - len(dropped.bad), max_bad_share)

    write_archive(out, written())
    write_json(
        out / KIND_FILE,
        {"kind": options.kind, "settings": asdict(KINDS[options.kind]), "sample_rates": sorted(rates)},
    )
    CmvnStats.from_archive(FeatureArchive.open(out)).save(out / "cmvn.npz")
    reasons = [*dropped.bad, *((utterance, "too short for one frame") for utterance in skipped)]
    write_lines(out / "skipped.txt", (f"{utterance} {reason}" for utterance, reason in reasons))
    if origins:
        write_json(out / COPIES, origins)
    if skipped:
        logger.warning("%d utterances are too short for one frame; skipped.txt lists them", len(skipped))
    if silent:
        logger.warning("%d utterances are digital silence throughout: %s, ...", len(silent), silent[0])


def read_copies(folder: Path) -> dict[str, tuple[str, float, float]]:
    """Return the origin of each perturbed copy of an archive: id -> (id of the original, speed, warp)."""
    found = read_json(folder / COPIES) if (folder / COPIES).is_file() else {}
    return {utterance: (source, speed, warp) for utterance, (source, speed, warp) in found.items()}


def _compute_all(utterances: list[Utterance], options: FeatureOptions, jobs: int) -> Iterator[_Batch]:
    batches = list(_batches(utterances))
    seconds = sum(u.duration for u in utterances) * len(options.copies)
    if jobs <= 1 or seconds < PROCESSES_FROM_SECONDS:
        with one_thread():  # as in a worker process: results depend on it in the last bits
            for batch in progress(batches, f"{options.kind} features", unit="batches"):
                yield _compute_batch(batch, options)
        return
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("fork"), initializer=_start_worker)
    try:
        done = pool.map(_compute_batch, batches, [options] * len(batches))
        yield from progress(done, f"{options.kind} features", total=len(batches), unit="batches")
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    import torch

    exit_with_parent()
    torch.set_num_threads(1)


def _batches(utterances: list[Utterance]) -> Iterator[list[Utterance]]:
    """Yield batches of about BATCH_SECONDS, in order of the recordings."""
    batch: list[Utterance] = []
    by_path = sorted(utterances, key=lambda u: (str(u.path), u.id.encode()))
    for _, of_recording in groupby(by_path, key=lambda u: u.path):
        batch += of_recording
        if sum(u.duration for u in batch) >= BATCH_SECONDS:
            yield batch
            batch = []
    if batch:
        yield batch


def _compute_batch(batch: list[Utterance], options: FeatureOptions) -> _Batch:
    waves: dict[int, list[np.ndarray]] = {}
    owners: dict[int, list[Utterance]] = {}
    done = _Batch()
    for path, of_recording in groupby(batch, key=lambda u: u.path):
        rate: int | ValueError
        try:
            rate = inspect_audio(path).sampling_rate
        except ValueError as error:
            rate = error
        for u in of_recording:
            try:
                if isinstance(rate, ValueError):
                    raise rate
                wave = read_audio(path, u.channel, u.start, u.duration)
            except ValueError as error:
                done.bad.append((u.id, str(error)))
                continue
            if not wave.any():
                done.silent.append(u.id)
            waves.setdefault(rate, []).append(wave)
            owners.setdefault(rate, []).append(u)
    for copy in options.copies:
        for rate, cuts in waves.items():
            features = _extractor(options.kind, rate, options.feature_backend, copy.warp)(
                [
                    add_noise(change_speed(cut, copy.speed), rate, copy.prefix + u.id, options, copy.noise_floor_db)
                    for cut, u in zip(cuts, owners[rate], strict=True)
                ]
            )
            for u, matrix in zip(owners[rate], features, strict=True):
                done.computed.append(_Computed(copy.prefix + u.id, copy.prefix + u.speaker, u.id, copy, rate, matrix))
    return done


def add_noise(
    samples: np.ndarray, sample_rate: int, utterance: str, options: FeatureOptions, floor_db: float | None = None
) -> np.ndarray:
    """Add white noise of `dither` 16-bit steps, and noise `floor_db` dB below the level of the speech.

    It depends only on the seed and the utterance, not on order or processes.
    """
    deviation = options.dither
    if floor_db is not None:
        deviation = np.hypot(deviation, speech_level(samples, sample_rate) * 10 ** (-floor_db / 20))
    if not deviation:
        return samples
    random = np.random.default_rng([options.seed, zlib.crc32(utterance.encode())])
    noise = random.standard_normal(len(samples), dtype=np.float32)
    return samples + noise * np.float32(deviation)


def speech_level(samples: np.ndarray, sample_rate: int) -> float:
    """Return the speech level of (N,) samples: the upper quartile of the RMS values of frames.

    Unlike the mean, it hardly depends on the share of pauses or on the loudest word.
    """
    length = int(FRAME_LENGTH_SECONDS * sample_rate)
    if len(samples) < length:
        return 0.0
    frames = samples[: len(samples) // length * length].reshape(-1, length)
    return float(np.quantile(np.sqrt(np.square(frames, dtype=np.float64).mean(axis=1)), 0.75))
