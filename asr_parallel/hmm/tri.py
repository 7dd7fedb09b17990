"""Triphone GMM from another system's alignments (Kaldi: steps/train_deltas.sh)."""

import numpy as np

from asr_parallel.hmm.alignment import AlignmentSet
from asr_parallel.hmm.convert import convert_alignment
from asr_parallel.hmm.em import AlignmentResult, GmmHmm
from asr_parallel.hmm.gmm import DiagGmmSet
from asr_parallel.hmm.gmm_training import GmmSchedule, GmmTrainer
from asr_parallel.hmm.gmm_update import split_gmm
from asr_parallel.hmm.lang import Lang
from asr_parallel.hmm.questions import automatic_questions
from asr_parallel.hmm.system import GmmSystem
from asr_parallel.hmm.training_graph import GraphBuilder
from asr_parallel.hmm.training_set import TrainingSet
from asr_parallel.hmm.transitions import TransitionModel
from asr_parallel.hmm.tree_build import build_tree
from asr_parallel.hmm.tree_stats import TreeStats, mean_and_variance
from asr_parallel.record.log import logger

# steps/train_deltas.sh
NUM_ITERS = 35
MAX_ITER_INC = 25
REALIGN_ITERS = (10, 20, 30)


def schedule(total_gauss: int, boost_silence: float = 1.0) -> GmmSchedule:
    """Return Kaldi's schedule for triphones on deltas."""
    return GmmSchedule(NUM_ITERS, MAX_ITER_INC, REALIGN_ITERS, total_gauss, boost_silence=boost_silence)


def train_tri(
    data: TrainingSet,
    lang: Lang,
    old: TransitionModel,
    alignments: AlignmentSet,
    num_leaves: int,
    plan: GmmSchedule,
    jobs: int = 1,
    seed: int = 0,
) -> GmmSystem:
    """Grow a tree on `alignments` (by the system whose transition model is `old`), train the mixtures and realign.

    Utterances of `data` without an alignment are left out of tree building but not of training.

    Raises:
        ValueError: alignments and features do not fit together, or too many utterances cannot be aligned.
    """
    given = _alignments_of(data, alignments)
    known = [i for i, tids in enumerate(given) if tids is not None]
    utterances, tids = [data.utterances[i] for i in known], [t for t in given if t is not None]
    stats = TreeStats.accumulate(data.archive, utterances, tids, old, lang.silence_phones)
    questions = automatic_questions(stats)
    tree = build_tree(stats, questions, old.topology, lang.silence_phones, num_leaves)
    line = f"tree: {tree.num_pdfs} leaves for {len(stats.moments)} states in context, {len(questions)} questions"
    logger.info(line)

    transitions = TransitionModel.build(old.topology, tree)
    graphs = data.graphs(GraphBuilder(lang, tree, transitions))
    trainer = GmmTrainer(data, graphs, plan, lang.silence_phones, jobs, seed, [line])
    moments = stats.of_pdfs(tree)
    gmm = leaf_gmm(moments, transitions)
    gmm = split_gmm(gmm, moments[:, 0], num_leaves, np.random.default_rng(seed))
    offsets = np.cumsum([0, *(len(t) for t in tids)])
    converted = convert_alignment(np.concatenate(tids), offsets, old, transitions, tree)
    aligned: list[np.ndarray | None] = [None] * len(data)
    for place, piece in zip(known, np.split(converted, offsets[1:-1]), strict=True):
        aligned[place] = piece
    model = trainer.train(GmmHmm(gmm, transitions), AlignmentResult(aligned, retried=0), num_leaves)
    return GmmSystem.finished(trainer, tree, model)


def leaf_gmm(moments: np.ndarray, transitions: TransitionModel) -> DiagGmmSet:
    """Return one Gaussian a leaf from its (P, 1 + 2 D) moments.

    A leaf without data gets the Gaussian of its phone, and one of a phone without data that of all data. Kaldi's
    gmm-init-model takes all data for both. But a state of silence that fits everything swallows the speech of voices
    that the other leaves fit badly.
    """
    phones, _, pdfs = transitions.tuples.T
    phone_of = np.zeros(len(moments), dtype=np.int64)
    phone_of[pdfs] = phones
    of_phone = np.zeros((phone_of.max() + 1, moments.shape[1]))
    np.add.at(of_phone, phone_of, moments)
    filled = moments
    for wider in (of_phone[phone_of], moments.sum(0)):
        filled = np.where(filled[:, :1] > 0, filled, wider)
    return DiagGmmSet.single(*mean_and_variance(filled))


def _alignments_of(data: TrainingSet, alignments: AlignmentSet) -> list[np.ndarray | None]:
    """Return the alignment of each utterance of `data`, None where there is none."""
    place = {utterance: u for u, utterance in enumerate(alignments.ids)}
    found: list[np.ndarray | None] = []
    for utterance, frames in zip(data.ids, data.num_frames.tolist(), strict=True):
        tids = alignments[place[utterance]] if utterance in place else None
        if tids is not None and len(tids) != frames:
            raise ValueError(f"alignment of {utterance} has {len(tids)} frames, its features have {frames}")
        found.append(tids)
    if all(tids is None for tids in found):
        raise ValueError("no utterance of the training data has an alignment; do they belong together?")
    return found
