"""A trained GMM system and its folder.

tree.json transitions.json transitions.npz gmm.safetensors   the model
occs.npy      (num_pdfs,) float64: frames of each pdf in the last alignment
ali/          alignments of the training data by the final model
train.log     one line an iteration
kind.json     the configuration of the training features (written by the verbs)
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asr_parallel.hmm.alignment import AlignmentSet
from asr_parallel.hmm.em import GmmHmm
from asr_parallel.hmm.gmm import DiagGmmSet
from asr_parallel.hmm.gmm_training import GmmTrainer
from asr_parallel.hmm.training_set import warn_of_failures
from asr_parallel.hmm.transitions import TransitionModel
from asr_parallel.hmm.tree import Tree
from asr_parallel.record.files import atomic_file, write_lines
from asr_parallel.record.log import logger


@dataclass(frozen=True)
class GmmSystem:
    """The result of training. failed: (utterance id, reason) of utterances without alignment."""

    tree: Tree
    transitions: TransitionModel
    gmm: DiagGmmSet
    alignments: AlignmentSet
    failed: list[tuple[str, str]]
    log: list[str]

    @classmethod
    def finished(cls, trainer: GmmTrainer, tree: Tree, model: GmmHmm) -> "GmmSystem":
        """Return the system with the final model's alignments of the trainer's data."""
        aligned = trainer.align(model, trainer.schedule.beam)
        alignments = trainer.data.alignment_set(aligned)
        line = f"final alignment: {len(alignments)} utterances, {aligned.retried} retried, {aligned.num_failed} failed"
        logger.info(line)
        failed = trainer.data.failures(aligned)
        warn_of_failures(failed, len(trainer.data))
        return cls(
            tree,
            model.transitions,
            model.gmm,
            alignments,
            [*trainer.data.unusable, *failed],
            [*trainer.log, line],
        )

    def save(self, folder: Path) -> None:
        """Write the whole system into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        self.tree.save(folder)
        self.transitions.save(folder)
        self.gmm.save(folder)
        self.alignments.write(folder / "ali", self.failed)
        occs = np.bincount(self.alignments.pdf_ids(self.transitions), minlength=self.tree.num_pdfs)
        with atomic_file(folder / "occs.npy") as temp, temp.open("wb") as file:
            np.save(file, occs.astype(np.float64))
        write_lines(folder / "train.log", self.log)
