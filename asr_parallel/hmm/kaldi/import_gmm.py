"""Import of Kaldi's GMM systems on features with deltas, such as exp/tri1: final.mdl, tree and phones.txt."""

from pathlib import Path

from asr_parallel.features.config import KIND_FILE
from asr_parallel.features.kaldi_features import KIND, read_cmvn_opts
from asr_parallel.hmm.kaldi.export_system import CMVN_OPTS, GMM_DELTA_OPTS
from asr_parallel.hmm.kaldi.gmm_reader import read_gmm
from asr_parallel.hmm.kaldi.object_reader import ObjectReader
from asr_parallel.hmm.kaldi.transition_model import KaldiTransitionModel
from asr_parallel.hmm.kaldi.tree import KaldiTree
from asr_parallel.record.files import write_json

NEEDED = ("final.mdl", "tree")
OPTIONAL = ("phones.txt", CMVN_OPTS, "delta_opts", "final.mat")


def gmm_inputs(source: Path) -> dict[str, Path]:
    """Return the files of Kaldi's folder that the system depends on; ValueError where one is missing."""
    for name in NEEDED:
        if not (source / name).is_file():
            raise ValueError(f"{source}: no {name}; expected Kaldi's folder of a GMM system, such as exp/tri1")
    return {name: source / name for name in (*NEEDED, *OPTIONAL) if (source / name).is_file()}


def import_gmm(source: Path, folder: Path) -> None:
    """Write Kaldi's GMM system in `source` as one of this package into `folder`, without alignments.

    Raises:
        ValueError: a file is missing or malformed, the tree is of another model, or the features or HMMs are of a kind
            that this package has not.
    """
    files = gmm_inputs(source)
    if "final.mat" in files:
        raise ValueError(f"{files['final.mat']}: a transform of the features; expected a system on deltas, as exp/tri1")
    deltas = files["delta_opts"].read_text(encoding="utf-8").split() if "delta_opts" in files else []
    if set(deltas) - set(GMM_DELTA_OPTS.split()):
        raise ValueError(f"{files['delta_opts']}: {' '.join(deltas)}; expected {GMM_DELTA_OPTS}, as by default")
    means, variances = read_cmvn_opts(files[CMVN_OPTS]) if CMVN_OPTS in files else (True, False)
    if not means:
        raise ValueError(f"{files[CMVN_OPTS]}: means are not normalised; expected a system on normalised features")
    reader = ObjectReader(files["final.mdl"])
    model = KaldiTransitionModel.begin(reader, files["final.mdl"])
    gmm = read_gmm(reader)
    tree = KaldiTree.read(files["tree"])
    tree.check(model)
    if gmm.num_pdfs != model.num_pdfs:
        raise ValueError(f"{files['final.mdl']}: Gaussians of {gmm.num_pdfs} pdfs; expected {model.num_pdfs}")
    if gmm.dim % 3:
        raise ValueError(f"{files['final.mdl']}: {gmm.dim} dimensions; expected features with first and second deltas")
    try:
        tree.save_plain(model, source, folder)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    gmm.save(folder)
    if variances:
        write_json(folder / KIND_FILE, {"kind": KIND, "settings": {"cmvn": "mean-var"}})
