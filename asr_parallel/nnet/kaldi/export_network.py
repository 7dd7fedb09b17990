"""Export of a network as Kaldi's folder of a model."""

from pathlib import Path

from asr_parallel.features.config import cmvn_of
from asr_parallel.features.kaldi_writer import cmvn_opts
from asr_parallel.hmm.kaldi.export_system import CMVN_OPTS, MODEL, System
from asr_parallel.hmm.kaldi.object_writer import ObjectWriter
from asr_parallel.nnet.ensemble_network import ENSEMBLE_FILE
from asr_parallel.nnet.kaldi.nnet1 import class_frame_counts, write_feature_transform, write_nnet1
from asr_parallel.nnet.kaldi.nnet3 import write_am_nnet3, write_nnet3
from asr_parallel.nnet.network import SPEC_FILE, Network
from asr_parallel.record.files import write_text


def holds_network(folder: Path) -> bool:
    """Tell whether a network, or an ensemble of them, is in a folder."""
    return any((folder / name).is_file() for name in (SPEC_FILE, ENSEMBLE_FILE))


def export_network(
    source: Path, folder: Path, system: System | None, lang: Path | None, network_format: str, binary: bool
) -> None:
    """Write the network in `source` into `folder`, with tree and transition model where the system is given.

    nnet3: final.raw, the network alone; final.mdl: transition model, network and priors. nnet1: final.nnet,
    final.feature_transform, ali_train_pdf.counts; final.mdl: the transition model.

    Raises:
        ValueError: an ensemble, a network that the format cannot hold, or a system of other pdfs.
    """
    if (source / ENSEMBLE_FILE).is_file():
        raise ValueError(f"{source}: an ensemble; expected a network, such as {source / '0'}: Kaldi has no ensembles")
    network = Network.open(source)
    if system is not None and system.tree.num_pdfs != network.spec.num_pdfs:
        raise ValueError(
            f"{source}: a network of {network.spec.num_pdfs} pdfs; {system.folder} has {system.tree.num_pdfs}"
        )
    try:
        (_write_nnet3 if network_format == "nnet3" else _write_nnet1)(network, folder, system, binary)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    write_text(folder / CMVN_OPTS, f"{_cmvn_opts(network)}\n")
    if system is not None:
        system.write_tree(folder, binary)
        system.write_phones(folder, lang)


def _write_nnet3(network: Network, folder: Path, system: System | None, binary: bool) -> None:
    raw = ObjectWriter(binary)
    write_nnet3(raw, network)
    raw.save(folder / "final.raw")
    if system is not None:
        model = system.begin_model(binary)
        write_am_nnet3(model, network)
        model.save(folder / MODEL)


def _write_nnet1(network: Network, folder: Path, system: System | None, binary: bool) -> None:
    for name, write in (("final.nnet", write_nnet1), ("final.feature_transform", write_feature_transform)):
        out = ObjectWriter(binary)
        write(out, network)
        out.save(folder / name)
    counts = " ".join(f"{count:.9g}" for count in class_frame_counts(network.log_prior))
    write_text(folder / "ali_train_pdf.counts", f" [ {counts} ]\n")
    if system is not None:
        system.begin_model(binary).save(folder / MODEL)


def _cmvn_opts(network: Network) -> str:
    """Return how apply-cmvn has to normalise the features: as before they were imported, or each speaker's."""
    imported = cmvn_of(network.feature_config)
    if imported != "none":
        return cmvn_opts(norm_means=True, norm_vars=imported == "mean-var")
    return cmvn_opts(norm_means=network.normalisation.mean is None, norm_vars=network.normalisation.norm_vars)
