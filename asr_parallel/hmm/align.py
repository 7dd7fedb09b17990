"""Forced alignment of any data by a trained system (Kaldi: steps/align_si.sh)."""

from pathlib import Path

from asr_parallel.hmm.em import GmmHmm
from asr_parallel.hmm.gmm import DiagGmmSet
from asr_parallel.hmm.gmm_training import align_set
from asr_parallel.hmm.lang import Lang, check_phones
from asr_parallel.hmm.training_graph import GraphBuilder
from asr_parallel.hmm.training_set import TrainingSet, warn_of_failures
from asr_parallel.hmm.transitions import TransitionModel
from asr_parallel.hmm.tree import Tree
from asr_parallel.record.log import logger


def align_data(
    model: Path, data: TrainingSet, lang: Lang, out: Path, beam: float, boost_silence: float, jobs: int
) -> None:
    """Align `data` with the system in the folder `model`; write `out`/ali, the tree and the transition model.

    Raises:
        ValueError: no GMM system, phones or features that do not match, or too many utterances fail to align.
    """
    tree, transitions, gmm = Tree.open(model), TransitionModel.open(model), DiagGmmSet.open(model)
    check_phones(lang, transitions.topology, model)
    graphs = data.graphs(GraphBuilder(lang, tree, transitions))
    aligned = align_set(data, graphs, GmmHmm(gmm, transitions), lang.silence_phones, beam, boost_silence, jobs)
    logger.info("aligned %d utterances, %d retried, %d failed", len(data), aligned.retried, aligned.num_failed)
    tree.save(out)
    transitions.save(out)
    failed = data.failures(aligned)
    warn_of_failures(failed, len(data))
    data.alignment_set(aligned).write(out / "ali", [*data.unusable, *failed])
