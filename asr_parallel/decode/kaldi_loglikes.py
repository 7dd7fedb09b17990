"""Export of log-likelihoods as Kaldi's decoders take them (latgen-faster-mapped): a matrix an utterance, by pdf."""

from pathlib import Path

from asr_parallel.decode.acoustic import open_acoustic_model
from asr_parallel.features.kaldi_writer import sorted_utterances, write_matrices
from asr_parallel.record.progress_bar import progress

LOGLIKES = "loglikes"


def export_loglikes(model: Path, feats: Path, folder: Path, place: Path) -> None:
    """Write loglikes.ark and loglikes.scp of a model into `folder`: of a network, log posteriors minus log priors.

    Args:
        model: folder of a GMM system, network or ensemble.
        feats: archive of stage 2.
        folder: where to write.
        place: absolute path that the folder will have.

    Raises:
        ValueError: no model, or features that are not its own.
    """
    acoustic = open_acoustic_model(model)
    archive = acoustic.open_features(feats)
    order = progress(sorted_utterances(archive.ids), f"log-likelihoods of {feats.name}", unit="utterances")
    write_matrices(folder, LOGLIKES, place, ((archive.ids[u], acoustic.log_likelihoods(archive[u])) for u in order))
