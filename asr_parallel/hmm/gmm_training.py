"""Training loop of all GMM systems: EM in every iteration, realignment in some, and more Gaussians up to a maximum."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from asr_parallel.hmm.em import AlignmentResult, FramesOfPdfs, GmmHmm, align_utterances
from asr_parallel.hmm.gmm_update import split_gmm, update_gmm
from asr_parallel.hmm.training_graph import TrainingGraph
from asr_parallel.hmm.training_set import TrainingSet, check_failures
from asr_parallel.record.log import logger
from asr_parallel.record.progress_bar import progress


@dataclass(frozen=True)
class GmmSchedule:
    """The iterations of realignment and growth. Iterations are numbered from 1 to num_iters - 1, as in Kaldi's scripts.

    total_gauss: number of Gaussians to reach. max_iter_inc: the last iteration that adds Gaussians.
    realign_iters: iterations that begin with a realignment.
    beam: beam of the alignments; first_beam: that of the first realignment.
    boost_silence: factor on the likelihoods of silence phones during alignment.
    """

    num_iters: int
    max_iter_inc: int
    realign_iters: tuple[int, ...]
    total_gauss: int
    beam: float = 10.0  # train_mono.sh, train_deltas.sh
    first_beam: float = 10.0
    boost_silence: float = 1.0


def align_set(
    data: TrainingSet,
    graphs: Sequence[TrainingGraph],
    model: GmmHmm,
    silence_phones: Sequence[int],
    beam: float,
    boost_silence: float,
    jobs: int,
) -> AlignmentResult:
    """Align all utterances of a set; `boost_silence` multiplies the likelihoods of silence phones.

    Raises:
        ValueError: too many utterances fail.
    """
    transitions = model.transitions
    silence = np.isin(transitions.tuples[:, 0], silence_phones)
    offset = np.zeros(transitions.num_pdfs, dtype=np.float32)
    offset[transitions.tuples[silence, 2]] = np.log(boost_silence)
    aligned = align_utterances(data.archive, data.utterances, graphs, model, beam, jobs, offset)
    check_failures(data.failures(aligned), len(data))
    return aligned


@dataclass
class GmmTrainer:
    """EM training of one GMM system on one training set.

    graphs: training graphs of the utterances, for the system's tree. seed: for the random directions of splits.
    """

    data: TrainingSet
    graphs: Sequence[TrainingGraph]
    schedule: GmmSchedule
    silence_phones: Sequence[int]
    jobs: int
    seed: int
    log: list[str] = field(default_factory=list)

    def align(self, model: GmmHmm, beam: float) -> AlignmentResult:
        """Align the whole set; ValueError when too many utterances fail."""
        boost = self.schedule.boost_silence
        return align_set(self.data, self.graphs, model, self.silence_phones, beam, boost, self.jobs)

    def train(self, model: GmmHmm, aligned: AlignmentResult, num_gauss: int) -> GmmHmm:
        """Run all iterations, starting from a model with `num_gauss` Gaussians and its alignment."""
        schedule, rng = self.schedule, np.random.default_rng(self.seed)
        increment = max(0, (schedule.total_gauss - num_gauss) // schedule.max_iter_inc)
        frames = self.frames_of(aligned, model)
        beam = schedule.first_beam
        for iteration in progress(range(1, schedule.num_iters), "GMM training", unit="iterations"):
            note = ""
            if iteration in schedule.realign_iters:
                aligned = self.align(model, beam)
                frames = self.frames_of(aligned, model)
                note = f", aligned again: {aligned.retried} retried, {aligned.num_failed} failed"
            model = self.estimate(model, frames, num_gauss, rng, iteration, note)
            if iteration <= schedule.max_iter_inc:
                num_gauss += increment
            beam = schedule.beam
        return model

    def frames_of(self, aligned: AlignmentResult, model: GmmHmm) -> FramesOfPdfs:
        """Return the frames of each pdf in an alignment of this set."""
        return FramesOfPdfs(self.data.archive, self.data.utterances, aligned, model.transitions)

    def estimate(
        self,
        model: GmmHmm,
        frames: FramesOfPdfs,
        num_gauss: int,
        rng: np.random.Generator,
        iteration: int,
        note: str = "",
    ) -> GmmHmm:
        """Run one iteration of EM (mixtures and transitions), then split up to `num_gauss` Gaussians."""
        stats = frames.accumulate(model.gmm, self.jobs)
        gmm = update_gmm(model.gmm, stats)
        gmm = split_gmm(gmm, stats.pdf_occupancy(model.gmm), num_gauss, rng)
        line = (
            f"iteration {iteration}: log-likelihood per frame {stats.log_likelihood / max(stats.frames, 1):.4f}"
            f" over {stats.frames} frames, {gmm.num_gauss} Gaussians{note}"
        )
        self.log.append(line)
        logger.info(line)
        return GmmHmm(gmm, model.transitions.updated(frames.tid_counts))
