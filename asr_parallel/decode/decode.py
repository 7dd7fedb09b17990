"""Decode a data set, utterances spread over processes.

A decode folder holds
    lat.1.gz      lattices (decode/lattice_archive.py), in the order of the features
    1best.txt     "utterance-id words", every utterance, also those without a lattice
    nbest.txt     "utterance-id-n cost words", when asked for
    words.txt     the graph's words, for the ids in the lattices
    transitions.* the graph's transition model, for the ids in the lattices
    decode.json   options, speed, counts, failures
"""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from asr_parallel.decode.acoustic import AcousticModel, finite_scores, open_acoustic_model
from asr_parallel.decode.batched_scores import PrecomputedScores, StoredScores
from asr_parallel.decode.compact_lattice import compact_bytes, with_strings
from asr_parallel.decode.decoder import Decoded, Decoder
from asr_parallel.decode.decoder_options import DecoderOptions
from asr_parallel.decode.determinize import Determinizer
from asr_parallel.decode.lattice import best_paths
from asr_parallel.decode.lattice_archive import LATTICES, ONE_BEST, write_lattices
from asr_parallel.decode.nbest import n_best
from asr_parallel.features.archive import FeatureArchive
from asr_parallel.features.extractors import FRAME_SHIFT_SECONDS
from asr_parallel.hmm.fst_arrays import fst_bytes
from asr_parallel.hmm.lang import read_symbols
from asr_parallel.hmm.search_graph import SearchGraph
from asr_parallel.hmm.transitions import TransitionModel
from asr_parallel.record.child_processes import exit_with_parent
from asr_parallel.record.files import write_json, write_lines
from asr_parallel.record.log import logger
from asr_parallel.record.progress_bar import progress
from asr_parallel.record.threads import one_thread

SUMMARY = "decode.json"
WARM_UP_FRAMES = 100  # enough to run, and so compile, every part of the search
START_UP_SECONDS = 4.0  # of a process pool (each loads torch); shorter jobs run in this process
GRAPH_FILES = ("words.txt", "transitions.json", "transitions.npz")


@dataclass(frozen=True)
class DecodeJob:
    """Paths and options with which a process decodes any utterance of a set.

    scores: stands for the model where another process computes its log-likelihoods.
    """

    graph: Path
    model: Path
    features: Path
    options: DecoderOptions
    num_best: int = 0
    state_level: bool = False
    scores: PrecomputedScores | None = None


@dataclass(frozen=True)
class DecodeResult:
    """A decoded utterance.

    lattice: as an archive has it, empty when `failure` gives the reason. active_tokens: None where the search does not
    count them.
    """

    frames: int
    lattice: bytes = b""
    words: list[int] = field(default_factory=list)
    n_best: list[tuple[float, list[int]]] = field(default_factory=list)
    reached_final: bool = False
    active_tokens: float | None = 0.0
    cpu_seconds: float = 0.0
    failure: str = ""


Search = Callable[[DecodeJob, int], Iterator[DecodeResult]]
"""Decodes the first so many utterances of a job, and yields the results in their order."""


@dataclass(frozen=True)
class DecodeContext:
    """The opened files of a decode job."""

    model: AcousticModel
    features: FeatureArchive
    decoder: Decoder
    determinizer: Determinizer


def open_files(
    job: DecodeJob, device: str = "cpu"
) -> tuple[AcousticModel, FeatureArchive, SearchGraph, TransitionModel]:
    """Open the files of a job, a network on a device; ValueError when they do not fit together."""
    graph, transitions = SearchGraph.open(job.graph / "search"), TransitionModel.open(job.graph)
    model = job.scores or open_acoustic_model(job.model, device)
    if model.num_pdfs != transitions.num_pdfs:
        raise ValueError(
            f"{job.model} knows {model.num_pdfs} pdfs, the graph {job.graph} {transitions.num_pdfs}: "
            "build the graph from the tree the model was trained with"
        )
    return model, model.open_features(job.features), graph, transitions


@lru_cache(maxsize=1)  # a process opens its job once, not for every utterance
def _open(job: DecodeJob) -> DecodeContext:
    model, features, graph, transitions = open_files(job)
    context = DecodeContext(
        model,
        features,
        Decoder(graph, transitions.pdf_of, job.options),
        Determinizer(transitions, job.options.acwt, job.options.lattice_beam),
    )
    if len(context.features.frames):
        with one_thread():  # compile, or load the numba cache, before timing
            _search(context, job, context.features.frames[:WARM_UP_FRAMES])
    return context


def _search(context: DecodeContext, job: DecodeJob, features: np.ndarray) -> DecodeResult:
    """Return the result for the frames of one utterance."""
    log_likelihoods, failure = finite_scores(context.model, features)
    if log_likelihoods is None:
        return DecodeResult(len(features), failure=failure)
    return decode_result(job, len(features), context.decoder.decode(log_likelihoods), context.determinizer)


def decode_result(job: DecodeJob, num_frames: int, decoded: Decoded, determinizer: Determinizer) -> DecodeResult:
    """Return the result of an utterance, but for its processor time."""
    if decoded.lattice is None:
        return DecodeResult(
            num_frames, active_tokens=decoded.active_tokens, failure="no path through the graph survived"
        )
    if job.state_level:
        lattice, stored = with_strings(decoded.lattice), fst_bytes(decoded.lattice)
    else:
        lattice = determinizer(decoded.lattice)
        stored = compact_bytes(lattice)
    lmwt = 1.0 / job.options.acwt
    return DecodeResult(
        num_frames,
        lattice=stored,
        words=best_paths(lattice, [(lmwt, 0.0)])[0].words,
        n_best=n_best(lattice, job.num_best, lmwt) if job.num_best else [],
        reached_final=decoded.reached_final,
        active_tokens=decoded.active_tokens,
    )


def decode_one(job: DecodeJob, u: int | StoredScores) -> DecodeResult:
    """Return the result of the utterance u of a job, or of that with these scores."""
    context = _open(job)
    features = u.read() if isinstance(u, StoredScores) else context.features[u]
    with one_thread():
        start = time.process_time()
        result = _search(context, job, features)
        return replace(result, cpu_seconds=time.process_time() - start)


def _results(job: DecodeJob, num_utterances: int, jobs: int) -> Iterator[DecodeResult]:
    """Yield results in the order of the utterances.

    The first one is decoded in this process: it raises errors of the job early, and fills numba's cache for the others.
    """
    first = decode_one(job, 0)
    yield first
    rest = range(1, num_utterances)
    with search_pool(jobs, len(rest), first) as pool:
        if pool is None:
            yield from (decode_one(job, u) for u in rest)
        else:
            yield from pool.map(decode_one, [job] * len(rest), rest)


@contextmanager
def search_pool(jobs: int, num_utterances: int, first: DecodeResult) -> Iterator[ProcessPoolExecutor | None]:
    """Yield a pool for so many utterances like the first; None where this process has decoded them sooner."""
    if jobs == 1 or first.cpu_seconds * num_utterances < START_UP_SECONDS:
        yield None
        return
    context = get_context("forkserver")  # a fork of this process would inherit its threads' locks
    context.set_forkserver_preload([__name__])
    pool = ProcessPoolExecutor(min(jobs, num_utterances), context, initializer=exit_with_parent)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def decode_set(
    graph: Path,
    model: Path,
    features: Path,
    out: Path,
    options: DecoderOptions,
    jobs: int = 1,
    num_best: int = 0,
    state_level: bool = False,
    search: Search | None = None,
    facts: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Decode every utterance of the raw feature folder `features` into the folder `out`.

    Args:
        graph: folder made by make-graph.
        model: GMM system or network.
        jobs: processes; the result does not depend on it.
        num_best: number of distinct word sequences in nbest.txt; 0 for no such file.
        state_level: write lattices as the search makes them, not determinised.
        search: another way to do it than that each process scores and searches, which sees to its processes itself.
        facts: further entries of decode.json.

    Returns:
        The contents of decode.json.

    Raises:
        ValueError: graph, model and features do not fit together, or no utterance could be decoded.
    """
    for name in GRAPH_FILES:
        if not (graph / name).is_file():
            raise ValueError(f"{graph}: no {name}; expected a graph made by make-graph")
    job = DecodeJob(graph, model, features, options, num_best, state_level)
    ids = FeatureArchive.open(features).ids
    symbols = {i: word for word, i in read_symbols(graph / "words.txt").items()}
    results: list[DecodeResult] = []

    def lattices() -> Iterator[tuple[str, bytes]]:
        decoded = search(job, len(ids)) if search else _results(job, len(ids), jobs)
        for utterance, result in zip(progress(ids, f"decoding {features}", unit="utt"), decoded, strict=True):
            if result.failure:
                logger.warning("%s: not decoded: %s", utterance, result.failure)
            else:
                yield utterance, result.lattice
            results.append(replace(result, lattice=b""))

    start = time.monotonic()
    write_lattices(out / LATTICES, lattices())
    summary = _summary(ids, results, options, time.monotonic() - start) | dict(facts or {})

    def text(words: list[int]) -> str:
        return " ".join(symbols[word] for word in words)

    pairs = list(zip(ids, results, strict=True))
    write_lines(out / ONE_BEST, (f"{utterance} {text(result.words)}".rstrip() for utterance, result in pairs))
    if num_best:
        write_lines(
            out / "nbest.txt",
            (
                f"{utterance}-{n} {cost:.3f} {text(words)}".rstrip()
                for utterance, result in pairs
                for n, (cost, words) in enumerate(result.n_best, 1)
            ),
        )
    for name in GRAPH_FILES:
        shutil.copyfile(graph / name, out / name)
    write_json(out / SUMMARY, summary)
    if len(summary["failed"]) == len(ids):
        raise ValueError(f"{features}: none of its {len(ids)} utterances could be decoded with {model} and {graph}")
    tokens = summary["mean_active_tokens"]
    logger.info(
        "decoded %d utterances, %.0f s of speech: real-time factor %.4f a core, %s, "
        "%d without a final state, %d failed",
        len(ids),
        summary["audio_seconds"],
        summary["real_time_factor_per_core"],
        "active tokens not counted" if tokens is None else f"{tokens:.0f} active tokens",
        summary["without_final_state"],
        len(summary["failed"]),
    )
    return summary


def _summary(ids: list[str], results: list[DecodeResult], options: DecoderOptions, seconds: float) -> dict[str, Any]:
    frames = sum(result.frames for result in results)
    tokens = [r.active_tokens * r.frames for r in results if r.active_tokens is not None]
    audio_seconds = frames * FRAME_SHIFT_SECONDS
    cpu_seconds = sum(result.cpu_seconds for result in results)
    return {
        "options": asdict(options),
        "utterances": len(ids),
        "failed": {utterance: r.failure for utterance, r in zip(ids, results, strict=True) if r.failure},
        "without_final_state": sum(not r.reached_final and not r.failure for r in results),
        "audio_seconds": round(audio_seconds, 2),
        # acoustic scores, search, determinization and best path; "seconds" has the start, compiling and writing, too
        "cpu_seconds": round(cpu_seconds, 3),
        "real_time_factor_per_core": round(cpu_seconds / audio_seconds, 5) if frames else None,
        "seconds": round(seconds, 3),
        "mean_active_tokens": round(sum(tokens) / max(frames, 1), 1) if len(tokens) == len(results) else None,
    }
