"""Writer of the frame store, from a feature archive and its alignments (stage 4)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asr_parallel.features.archive import FeatureArchive
from asr_parallel.features.augment import frame_map
from asr_parallel.features.compute import read_copies
from asr_parallel.features.config import feature_config
from asr_parallel.features.frames import CONTEXT
from asr_parallel.features.normalisation import Normalisation
from asr_parallel.record.files import write_json, write_lines
from asr_parallel.record.log import logger
from asr_parallel.record.matrix_file import matrix_file
from asr_parallel.record.options import Checked, option
from asr_parallel.record.progress_bar import progress

Labels = dict[str, np.ndarray]
"""Labels by utterance id, (frames,) pdf ids each."""


@dataclass(frozen=True)
class FrameOptions(Checked):
    """Frames."""

    context: int = option(
        CONTEXT, "frames on either side in a network's window", least=0, source="Kaldi steps/nnet/train.sh, splice"
    )
    norm_vars: bool = option(False, "normalise the variance of each speaker, too")


DEFAULTS = FrameOptions()


def make_frames(
    feats: Path, labels: Labels, num_pdfs: int, out: Path, options: FrameOptions = DEFAULTS, length_tolerance: int = 0
) -> None:
    """Write the frame store of `feats` to `out`.

    Perturbed copies get the labels of their source, resampled in time for speed perturbation. Utterances without
    alignment are left out and listed in dropped.txt.

    Args:
        length_tolerance: frames by which an utterance's features and labels may differ; the longer are cut then.

    Raises:
        ValueError: no utterance has an alignment, or the length of one differs by more.
    """
    context = options.context
    archive = FeatureArchive.open(feats)
    normalisation = Normalisation.estimate(feats, options.norm_vars)
    affine = normalisation.per_speaker(feats, archive)
    copies = read_copies(feats)
    origin = {i: copies.get(i, (i, 1.0, 1.0)) for i in archive.ids}
    kept = [u for u, i in enumerate(archive.ids) if origin[i][0] in labels]
    dropped = [i for i in archive.ids if origin[i][0] not in labels]
    if not kept:
        raise ValueError(f"{feats}: none of its {len(archive)} utterances has an alignment")
    counts = np.diff(archive.offsets)
    lengths = [_length(int(counts[u]), origin[archive.ids[u]], labels) for u in kept]
    small = num_pdfs <= np.iinfo(np.int16).max
    # -1 stays on the repeated rows
    rows = np.full(sum(lengths) + 2 * context * len(kept), -1, dtype=np.int16 if small else np.int32)
    with matrix_file(out / "frames.npy", np.float16, archive.dim) as file:
        for u, length in zip(progress(kept, "frame store", unit="utterances"), lengths, strict=True):
            scale, shift = affine[archive.speakers[u]]
            matrix = archive[u][:length] * scale + shift
            start = file.rows + context
            file.append(np.pad(matrix, ((context, context), (0, 0)), mode="edge"))
            rows[start : start + length] = _labels(
                archive.ids[u], int(counts[u]), origin[archive.ids[u]], labels, length_tolerance
            )
    np.save(out / "labels.npy", rows)
    write_json(
        out / "index.json",
        {
            "context": context,
            "num_pdfs": num_pdfs,
            "normalisation": normalisation.to_json(),
            "feature_config": feature_config(feats, archive),
            "ids": [archive.ids[u] for u in kept],
            "speakers": [archive.speakers[u] for u in kept],
            "sources": [origin[archive.ids[u]][0] for u in kept],
            "frames": lengths,
        },
    )
    write_lines(out / "dropped.txt", (f"{i} no alignment" for i in dropped))
    if dropped:
        logger.warning("%d of %d utterances have no alignment; dropped.txt lists them", len(dropped), len(archive))


def _length(num_frames: int, origin: tuple[str, float, float], labels: Labels) -> int:
    """Return the frames that have both features and labels."""
    source, speed, _ = origin
    return num_frames if speed != 1.0 else min(num_frames, len(labels[source]))


def _labels(
    utterance: str, num_frames: int, origin: tuple[str, float, float], labels: Labels, length_tolerance: int
) -> np.ndarray:
    """Return the labels of an utterance, `_length` of them."""
    source, speed, _ = origin
    of_source = labels[source]
    if speed != 1.0:
        return of_source[frame_map(num_frames, speed, len(of_source))]
    if abs(len(of_source) - num_frames) > length_tolerance:
        raise ValueError(f"utterance {utterance}: {num_frames} frames of features, {len(of_source)} of alignment")
    return of_source[:num_frames]
