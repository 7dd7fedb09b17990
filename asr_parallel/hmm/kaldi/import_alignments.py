"""Import of Kaldi's alignments as a frame store (stage 4), with the model that they are of.

The frame store gets the folder `system`: tree.json and transitions.*, from which make-graph makes graphs with Kaldi's
pdf ids, and Kaldi's phones.txt, which the lang folder of a graph must agree with.
"""

import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asr_parallel.corpus.validate import MAX_BAD_SHARE, Dropped, write_dropped
from asr_parallel.features.archive import FeatureArchive
from asr_parallel.features.compute import read_copies
from asr_parallel.features.frame_writer import FrameOptions, make_frames
from asr_parallel.features.kaldi_features import KaldiFeatureOptions, import_features
from asr_parallel.hmm.kaldi.alignments import alignment_files, read_alignments
from asr_parallel.hmm.kaldi.transition_model import KaldiTransitionModel
from asr_parallel.hmm.kaldi.tree import KaldiTree
from asr_parallel.record.log import logger
from asr_parallel.record.options import Checked, option
from asr_parallel.record.progress_bar import progress

SYSTEM = "system"
FEATURES = "feats"  # until the frame store is made


@dataclass(frozen=True)
class AlignmentOptions(Checked):
    """Alignments made by Kaldi."""

    length_tolerance: int = option(
        4, "frames by which features and alignment of an utterance may differ; the longer are cut", least=0,
        source="Kaldi nnetbin/nnet-train-frmshuff.cc: less than 5",
    )  # fmt: skip


@dataclass(frozen=True)
class KaldiAlignments:
    """An opened folder of alignments, such as exp/tri4_ali: ali.*.gz, final.mdl, tree."""

    folder: Path
    files: list[Path]
    model: KaldiTransitionModel
    tree: KaldiTree

    @classmethod
    def open(cls, folder: Path) -> "KaldiAlignments":
        """Read model and tree.

        Raises:
            ValueError: a file is missing or malformed, or the tree is of another model.
        """
        files = alignment_files(folder)
        model, tree = KaldiTransitionModel.read(folder / "final.mdl"), KaldiTree.read(folder / "tree")
        tree.check(model)
        return cls(folder, files, model, tree)

    def labels(
        self, lengths: Mapping[str, int], tolerance: int, ignored: Collection[str], dropped: Dropped
    ) -> dict[str, np.ndarray]:
        """Return the pdf ids of utterances whose features have `lengths` frames; others go to `dropped`.

        Args:
            ignored: utterances that go nowhere.

        Raises:
            ValueError: a malformed file, or an utterance that is aligned twice.
        """
        found: dict[str, np.ndarray] = {}
        seen = set(ignored)
        for path in progress(self.files, f"alignments of {self.folder.name}", unit="files"):
            for utterance, ids in read_alignments(path):
                if utterance in found:
                    raise ValueError(f"{path}: {utterance} is aligned twice; expected each utterance once")
                if utterance in seen:
                    continue
                if problem := self._problem(ids, lengths.get(utterance, 0), tolerance):
                    dropped.bad.append((utterance, problem))
                    seen.add(utterance)
                else:
                    found[utterance] = self.model.pdf_of[ids]
        missing = [utterance for utterance in lengths if utterance not in found and utterance not in seen]
        dropped.bad += [(utterance, f"no alignment in {self.folder}") for utterance in missing]
        return found

    def _problem(self, ids: np.ndarray, num_frames: int, tolerance: int) -> str:
        last = self.model.num_transition_ids
        if not num_frames:
            return "is aligned, but has no features"
        if not len(ids) or abs(len(ids) - num_frames) > tolerance:
            return f"{num_frames} frames of features, {len(ids)} of alignment; --length-tolerance is {tolerance}"
        if ids.min() < 1 or ids.max() > last:
            wrong = ids[(ids < 1) | (ids > last)][0]
            return f"its alignment has transition id {wrong}; those of {self.model.path} are 1 to {last}"
        return ""

    def save_system(self, folder: Path) -> None:
        """Write tree and transition model as this package's into `folder`, where it has such HMMs."""
        try:
            self.tree.save_plain(self.model, self.folder, folder)
        except ValueError as error:
            logger.warning("%s: no graphs can be made with its model, only frames to train on: %s", self.folder, error)


def alignment_inputs(source: Path) -> dict[str, Path]:
    """Return the files of a folder of alignments that a frame store depends on; ValueError where there are none."""
    named = [source / name for name in ("final.mdl", "tree", "phones.txt") if (source / name).is_file()]
    return {path.name: path for path in [*named, *alignment_files(source)]}


def import_alignments(
    alignments: KaldiAlignments,
    feats: Path,
    folder: Path,
    frames: FrameOptions,
    options: AlignmentOptions,
    max_bad_share: float = MAX_BAD_SHARE,
    unread: Dropped | None = None,
) -> None:
    """Write the frame store of the feature archive `feats`, labelled by Kaldi's alignments, into `folder`.

    Args:
        unread: utterances whose features could not be read; they are not missed a second time.

    Raises:
        ValueError: a malformed file, no features, or too much left out.
    """
    archive = FeatureArchive.open(feats)
    copies = read_copies(feats)
    lengths = dict(zip(archive.ids, np.diff(archive.offsets).tolist(), strict=True))
    originals = {utterance: length for utterance, length in lengths.items() if utterance not in copies}
    dropped, unread = Dropped("utterances"), unread or Dropped("utterances")
    labels = alignments.labels(originals, options.length_tolerance, {utterance for utterance, _ in unread.bad}, dropped)
    dropped.check(alignments.folder.name, len(labels), max_bad_share)
    cut = sum(len(pdf_ids) != originals[utterance] for utterance, pdf_ids in labels.items())
    if cut:
        logger.warning("%d utterances: features and alignment differ in length; the longer are cut", cut)
    make_frames(feats, labels, alignments.model.num_pdfs, folder, frames, options.length_tolerance)
    write_dropped(folder, [unread, dropped])
    alignments.save_system(folder / SYSTEM)


def import_data(
    alignments: KaldiAlignments,
    data: Path,
    folder: Path,
    frames: FrameOptions,
    options: AlignmentOptions,
    features: KaldiFeatureOptions,
    max_bad_share: float = MAX_BAD_SHARE,
) -> None:
    """Write the frame store of the features of a Kaldi data directory, labelled by Kaldi's alignments, into `folder`.

    Raises:
        ValueError: see `import_features` and `import_alignments`.
    """
    if frames.norm_vars and features.of(data) != "none":
        raise ValueError(f"--norm-vars is of no use to features that {data / 'cmvn.scp'} normalises; see --cmvn")
    feats = folder / FEATURES
    feats.mkdir()
    unread = import_features(data, feats, features, max_bad_share)
    import_alignments(alignments, feats, folder, frames, options, max_bad_share, unread)
    shutil.rmtree(feats)
