"""Training in several threads: the same bits whatever their number, on a machine of several cores."""

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_hmm import LANG, draw_utterances

from asr_parallel.features.archive import FeatureArchive
from asr_parallel.hmm import mono
from asr_parallel.hmm.em import threaded
from asr_parallel.hmm.gmm_training import GmmSchedule

DIM = 39  # as MFCCs with deltas: products of fewer are computed in one thread anyway
PLAN = GmmSchedule(num_iters=3, max_iter_inc=2, realign_iters=(1, 2), total_gauss=150)


def trained(jobs: int) -> str:
    """Digest of a monophone system trained in so many threads."""
    data, _ = draw_utterances(80)
    rng = np.random.default_rng(0)
    frames = data.archive.frames @ rng.normal(size=(data.archive.frames.shape[1], DIM))
    frames = (frames + rng.normal(size=frames.shape)).astype(np.float32)
    data = replace(data, archive=FeatureArchive(data.archive.ids, data.archive.speakers, data.archive.offsets, frames))
    gmm = mono.train_mono(data, LANG, PLAN, jobs=jobs).gmm
    parts = (gmm.weights, gmm.means, gmm.variances)
    return hashlib.sha256(b"".join(part.numpy().tobytes() for part in parts)).hexdigest()


def products(jobs: int) -> str:
    """Digest of posteriors and moments as the E step forms them, of few and many frames, in so many threads."""
    generator = torch.Generator().manual_seed(0)
    sizes = [(frames, gaussians) for frames in (64, 333, 1000, 4096) for gaussians in (1, 2, 5, 9, 16, 40)]
    drawn = [(torch.randn(n, 2 * DIM, generator=generator), torch.randn(2 * DIM, g, generator=generator) / 9)
             for n, g in 3 * sizes]  # fmt: skip

    def one(pair: tuple[torch.Tensor, torch.Tensor]) -> bytes:
        expanded, linear = pair
        scores = expanded @ linear
        posteriors = torch.exp(scores - torch.logsumexp(scores, dim=1, keepdim=True))
        return (posteriors.T @ expanded).numpy().tobytes()

    return hashlib.sha256(b"".join(threaded(one, drawn, jobs))).hexdigest()


@pytest.mark.timeout(200)
def test_models_and_sums_do_not_depend_on_jobs_or_chance() -> None:
    """In a process of its own, which takes four threads as if it had the cores."""
    done = subprocess.run(
        [sys.executable, __file__], env=os.environ | {"OMP_NUM_THREADS": "4", "OMP_WAIT_POLICY": "PASSIVE"},
        cwd=Path(__file__).parent, capture_output=True, text=True, timeout=180,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    models, sums = (line.split() for line in done.stdout.splitlines())
    assert len(models) == 6 and len(set(models)) == 1
    assert len(sums) == 18 and len(set(sums)) == 1


if __name__ == "__main__":
    print(*(trained(jobs) for jobs in (1, 2, 3) * 2))
    print(*(products(jobs) for jobs in (1, 2, 3) * 6))
