"""Export of a system as Kaldi's folder of a model: final.mdl, tree, and the alignments where it has some."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asr_parallel.features.config import KIND_FILE, cmvn_of, read_kind
from asr_parallel.features.kaldi_writer import cmvn_opts
from asr_parallel.hmm.alignment import AlignmentSet
from asr_parallel.hmm.gmm import GMM_FILE, DiagGmmSet
from asr_parallel.hmm.kaldi.alignment_writer import write_alignments
from asr_parallel.hmm.kaldi.model_writer import write_gmm, write_transition_model
from asr_parallel.hmm.kaldi.object_writer import ObjectWriter
from asr_parallel.hmm.kaldi.tree_writer import write_tree
from asr_parallel.hmm.lang import Lang, check_phones
from asr_parallel.hmm.transitions import TransitionModel
from asr_parallel.hmm.tree import Tree
from asr_parallel.record.files import write_text

MODEL, TREE, CMVN_OPTS = "final.mdl", "tree", "cmvn_opts"
GMM_DELTA_OPTS = "--delta-order=2 --delta-window=2"  # see features.deltas


@dataclass(frozen=True)
class System:
    """Tree and transition model of a folder made by stage 3, or of a frame store's `system`."""

    folder: Path
    tree: Tree
    transitions: TransitionModel

    @classmethod
    def open(cls, folder: Path) -> "System":
        """Read both.

        Raises:
            ValueError: a file is missing or damaged, or the tree has pdfs that the model has not.
        """
        tree, transitions = Tree.open(folder), TransitionModel.open(folder)
        if tree.num_pdfs != transitions.num_pdfs:
            raise ValueError(f"{folder}: a tree with {tree.num_pdfs} pdfs, a model with {transitions.num_pdfs}")
        return cls(folder, tree, transitions)

    def begin_model(self, binary: bool) -> ObjectWriter:
        """Return a final.mdl with the transition model, after which the acoustic model may be written."""
        out = ObjectWriter(binary)
        write_transition_model(out, self.transitions)
        return out

    def write_tree(self, folder: Path, binary: bool) -> None:
        """Write the tree."""
        out = ObjectWriter(binary)
        write_tree(out, self.tree, self.transitions.topology)
        out.save(folder / TREE)

    def write_phones(self, folder: Path, lang: Path | None) -> None:
        """Copy phones.txt of a lang folder, or the one that the system has.

        Raises:
            ValueError: the lang folder has other phones.
        """
        if lang is not None:
            check_phones(Lang.open(lang), self.transitions.topology, self.folder)
        source = (lang or self.folder) / "phones.txt"
        if source.is_file():
            shutil.copyfile(source, folder / "phones.txt")


def export_system(system: System, folder: Path, lang: Path | None, num_jobs: int, binary: bool) -> None:
    """Write what the system's folder has into `folder`.

    Without Gaussians, as in a folder made by `align`, final.mdl has the transition model alone.

    Raises:
        ValueError: a damaged file, Gaussians of other pdfs, or a lang folder of other phones.
    """
    source = system.folder
    out = system.begin_model(binary)
    if (source / GMM_FILE).is_file():
        gmm = DiagGmmSet.open(source)
        if gmm.num_pdfs != system.tree.num_pdfs:
            raise ValueError(f"{source}: Gaussians of {gmm.num_pdfs} pdfs, a tree with {system.tree.num_pdfs}")
        write_gmm(out, gmm)
        kind = read_kind(source) if (source / KIND_FILE).is_file() else {}
        norm_vars = cmvn_of(kind) == "mean-var"  # of Kaldi's features, before they were imported
        write_text(folder / CMVN_OPTS, f"{cmvn_opts(norm_means=True, norm_vars=norm_vars)}\n")
        write_text(folder / "delta_opts", f"{GMM_DELTA_OPTS}\n")
    out.save(folder / MODEL)
    system.write_tree(folder, binary)
    system.write_phones(folder, lang)
    if (source / "ali").is_dir():
        _write_alignments(system, folder, num_jobs, binary)


def _write_alignments(system: System, folder: Path, num_jobs: int, binary: bool) -> None:
    """Write the system's alignments, and how many frames each pdf has in them."""
    alignments, last = AlignmentSet.open(system.folder / "ali"), system.transitions.num_transition_ids
    ids = alignments.transition_ids
    if len(ids) and not (ids.min() >= 1 and ids.max() <= last):
        raise ValueError(f"{system.folder / 'ali'}: transition ids {ids.min()} to {ids.max()}; expected 1 to {last}")
    write_alignments(folder, alignments, num_jobs, binary)
    occupancies = ObjectWriter(binary)
    occupancies.reals(np.bincount(alignments.pdf_ids(system.transitions), minlength=system.tree.num_pdfs))
    occupancies.save(folder / "final.occs")
