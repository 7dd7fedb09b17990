"""Monophone GMM from a flat start (Kaldi: steps/train_mono.sh, gmm-init-mono, align-equal-compiled)."""

import numpy as np

from asr_parallel.features.archive import FeatureArchive
from asr_parallel.hmm.em import AlignmentResult, GmmHmm
from asr_parallel.hmm.equal_align import equal_align
from asr_parallel.hmm.gmm import DiagGmmSet
from asr_parallel.hmm.gmm_training import GmmSchedule, GmmTrainer
from asr_parallel.hmm.lang import Lang
from asr_parallel.hmm.system import GmmSystem
from asr_parallel.hmm.topology import Topology
from asr_parallel.hmm.training_graph import GraphBuilder
from asr_parallel.hmm.training_set import TrainingSet, check_failures
from asr_parallel.hmm.transitions import TransitionModel
from asr_parallel.hmm.tree import monophone_tree

# steps/train_mono.sh
NUM_ITERS = 40
MAX_ITER_INC = 30
REALIGN_ITERS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 18, 20, 23, 26, 29, 32, 35, 38)
FIRST_BEAM = 6.0
FRAMES_PER_HOUR = 360_000
FRAMES_FOR_START = 100_000  # enough for one mean and one variance


def schedule(total_gauss: int, boost_silence: float = 1.0) -> GmmSchedule:
    """Return Kaldi's schedule for monophones."""
    return GmmSchedule(
        NUM_ITERS, MAX_ITER_INC, REALIGN_ITERS, total_gauss, first_beam=FIRST_BEAM, boost_silence=boost_silence
    )


def train_mono(
    data: TrainingSet, lang: Lang, plan: GmmSchedule, max_hours: float = 1.0, jobs: int = 1, seed: int = 0
) -> GmmSystem:
    """Train on the shortest utterances (`max_hours` of them), then align all of `data`.

    Raises:
        ValueError: too many utterances cannot be aligned.
    """
    topology = Topology.of_phones(lang.silence_phones, lang.nonsilence_phones)
    tree = monophone_tree(topology)
    transitions = TransitionModel.build(topology, tree)
    graphs = data.graphs(GraphBuilder(lang, tree, transitions))
    chosen = data.shortest(int(max_hours * FRAMES_PER_HOUR))
    graph_of = dict(zip(data.utterances, graphs, strict=True))
    trainer = GmmTrainer(chosen, [graph_of[u] for u in chosen.utterances], plan, lang.silence_phones, jobs, seed)

    model = GmmHmm(flat_gmm(data.archive, tree.num_pdfs), transitions)
    rng = np.random.default_rng(seed)
    aligned = AlignmentResult(
        [equal_align(g, transitions, n, rng) for g, n in zip(trainer.graphs, chosen.num_frames.tolist(), strict=True)],
        retried=0,
    )
    check_failures(chosen.failures(aligned), len(chosen))
    model = trainer.estimate(model, trainer.frames_of(aligned, model), tree.num_pdfs, rng, iteration=0)
    model = trainer.train(model, aligned, tree.num_pdfs)
    return GmmSystem.finished(GmmTrainer(data, graphs, plan, lang.silence_phones, jobs, seed, trainer.log), tree, model)


def flat_gmm(archive: FeatureArchive, num_pdfs: int) -> DiagGmmSet:
    """Return one Gaussian a pdf, each with mean and variance of evenly spaced frames of all utterances."""
    frames = archive.frames[:: 1 + len(archive.frames) // FRAMES_FOR_START].astype(np.float64)
    return DiagGmmSet.single(np.tile(frames.mean(0), (num_pdfs, 1)), np.tile(frames.var(0), (num_pdfs, 1)))
