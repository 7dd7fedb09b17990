"""Training set of a GMM: utterances that have both features and a transcript."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asr_parallel.corpus.datadir import read_utterances
from asr_parallel.corpus.lexicon import OOV_WORD
from asr_parallel.features.archive import FeatureArchive
from asr_parallel.features.deltas import gmm_features
from asr_parallel.hmm.alignment import AlignmentSet
from asr_parallel.hmm.em import AlignmentResult
from asr_parallel.hmm.training_graph import GraphBuilder, Pronunciations, TrainingGraph
from asr_parallel.record.log import logger
from asr_parallel.record.progress_bar import progress

# A few utterances always fail (wrong transcripts, clipped audio); when this many do, the input itself is wrong.
MAX_FAILED_SHARE = 0.2


@dataclass(frozen=True)
class TrainingSet:
    """archive: features of at least the utterances in question.

    utterances: their numbers in the archive. words: the transcript of each, OOV words replaced by `<unk>`.
    unusable: (id, reason) of transcribed utterances left out.
    """

    archive: FeatureArchive
    utterances: list[int]
    words: list[tuple[str, ...]]
    unusable: list[tuple[str, str]]

    @classmethod
    def of(cls, archive: FeatureArchive, texts: dict[str, str], lang: Pronunciations) -> "TrainingSet":
        """Match features and transcripts (utterance id -> text) by id.

        Raises:
            ValueError: too many utterances have no features or an empty transcript.
        """
        number_of = {utterance: u for u, utterance in enumerate(archive.ids)}
        utterances, words, unusable = [], [], []
        for utterance, text in texts.items():
            u = number_of.get(utterance, -1)
            if u < 0 or archive.offsets[u] == archive.offsets[u + 1]:
                unusable.append((utterance, "it has no features"))
                continue
            if not text:
                unusable.append((utterance, "its transcript is empty"))
                continue
            utterances.append(u)
            words.append(tuple(w if w in lang.lexicon else OOV_WORD for w in text.split()))
        check_failures(unusable, len(texts))
        warn_of_failures(unusable, len(texts))
        return cls(archive, utterances, words, unusable)

    @classmethod
    def open(cls, data: Path, feats: Path, lang: Pronunciations) -> "TrainingSet":
        """Return the utterances of a data folder with the GMM features of a feature folder."""
        return cls.of(gmm_features(feats), {u.id: u.text for u in read_utterances(data)}, lang)

    def __len__(self) -> int:
        return len(self.utterances)

    @property
    def ids(self) -> list[str]:
        return [self.archive.ids[u] for u in self.utterances]

    @property
    def num_frames(self) -> np.ndarray:
        """(U,) frames of each utterance."""
        return np.diff(self.archive.offsets)[self.utterances]

    def subset(self, chosen: Sequence[int]) -> "TrainingSet":
        """Return the utterances at the given indices."""
        return TrainingSet(
            self.archive, [self.utterances[i] for i in chosen], [self.words[i] for i in chosen], self.unusable
        )

    def shortest(self, max_frames: int) -> "TrainingSet":
        """Return the shortest utterances, `max_frames` in all at most: the easiest to align in a flat start."""
        order = np.argsort(self.num_frames, kind="stable")
        chosen = order[np.cumsum(self.num_frames[order]) <= max_frames]
        return self.subset(sorted(chosen.tolist()))

    def graphs(self, builder: GraphBuilder) -> list[TrainingGraph]:
        """Return the training graph of every utterance, in order."""
        return [builder.build(words) for words in progress(self.words, "training graphs", unit="utterances")]

    def alignment_set(self, aligned: AlignmentResult) -> AlignmentSet:
        """Return the utterances that were aligned, with their ids."""
        pairs = [(i, tids) for i, tids in zip(self.ids, aligned.tids, strict=True) if tids is not None]
        return AlignmentSet.of([i for i, _ in pairs], [tids for _, tids in pairs])

    def failures(self, aligned: AlignmentResult) -> list[tuple[str, str]]:
        """Return (id, reason) of every utterance that was not aligned."""
        return [
            (utterance, f"no path for its {len(words)} words in its {frames} frames")
            for utterance, words, frames, tids in zip(
                self.ids, self.words, self.num_frames.tolist(), aligned.tids, strict=True
            )
            if tids is None
        ]


def check_failures(failed: Sequence[tuple[str, str]], total: int) -> None:
    """Raise ValueError when too many utterances failed or none is left."""
    if len(failed) > MAX_FAILED_SHARE * total or len(failed) == total:
        first = f"; the first is {failed[0][0]}: {failed[0][1]}" if failed else ""
        raise ValueError(
            f"alignment: {len(failed)} of {total} utterances cannot be used"
            f" (at most {MAX_FAILED_SHARE:.0%} may){first}; do transcripts and features belong together?"
        )


def warn_of_failures(failed: Sequence[tuple[str, str]], total: int) -> None:
    """Log how many utterances failed, with one example."""
    if failed:
        logger.warning("%d of %d utterances cannot be used, e.g. %s: %s", len(failed), total, *failed[0])
