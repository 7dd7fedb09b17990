"""Decoding with a network on a GPU: one process scores for all, the others search."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import chain

from asr_parallel.decode.batched_scores import BatchScorer, ScoredBatch, StoredScores, in_order
from asr_parallel.decode.decode import WARM_UP_FRAMES, DecodeJob, DecodeResult, Search, decode_one, search_pool
from asr_parallel.record.log import logger


def scored_search(device: str, jobs: int) -> Search:
    """Return the search of `decode_set` in which this process computes a network's log-likelihoods on a device.

    The lattices are those of the CPU but for the rounding of their acoustic costs.
    """
    return partial(_results, device, jobs)


def _results(device: str, jobs: int, job: DecodeJob, num_utterances: int) -> Iterator[DecodeResult]:
    """Yield results in the order of the utterances, of which the first is decoded in this process."""
    with BatchScorer.open(job.model, job.features, device, WARM_UP_FRAMES) as scorer:
        logger.info("log-likelihoods of %s are computed on %s", job.model, device)
        job, batches = replace(job, scores=scorer.model), iter(scorer)
        batch = next(batches)
        first = _decode(job, batch.utterances[0])
        yield first
        rest = chain([ScoredBatch(batch.path, batch.utterances[1:])], batches)
        with search_pool(jobs, num_utterances - 1, first) as pool:
            yield from in_order(rest, partial(_decode, job), pool, jobs)


def _decode(job: DecodeJob, scores: StoredScores) -> DecodeResult:
    result = decode_one(job, scores)
    return replace(result, cpu_seconds=result.cpu_seconds + scores.cpu_seconds)
