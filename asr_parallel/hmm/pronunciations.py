"""Counts of the pronunciations that an alignment chose (Kaldi: steps/get_prons.sh)."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from asr_parallel.corpus.datadir import Utterance
from asr_parallel.hmm.alignment import AlignmentSet
from asr_parallel.hmm.lang import Lang
from asr_parallel.hmm.transitions import TransitionModel
from asr_parallel.hmm.word_times import WordTimes
from asr_parallel.record.progress_bar import progress


def count_pronunciations(
    ali: Path, lang: Lang, utterances: Iterable[Utterance]
) -> Counter[tuple[str, tuple[str, ...]]]:
    """Return the count of each (word, phones) in the aligned utterances.

    Args:
        ali: a GMM system's or alignment's folder, made with `lang`.

    Raises:
        ValueError: the alignment was not made with this lang folder or of these transcripts.
    """
    alignments, transitions = AlignmentSet.open(ali / "ali"), TransitionModel.open(ali)
    times = WordTimes(lang, transitions)
    texts = {u.id: u.text for u in utterances}
    word_of = {i: word for word, i in lang.words.items()}
    phone_of = {i: phone for phone, i in lang.phones.items()}
    counts: Counter[tuple[str, tuple[str, ...]]] = Counter()
    aligned = zip(alignments.ids, alignments, strict=True)
    for utterance, tids in progress(aligned, "pronunciations", total=len(alignments), unit="utterances"):
        if utterance not in texts:
            raise ValueError(f"{ali}: aligned utterance {utterance} is not in the data folder")
        phones = times.phones(tids)
        for word, start, num_frames in times.words(tids, lang.word_ids(texts[utterance])):
            spoken = tuple(phone_of[phone] for phone, at, _ in phones if start <= at < start + num_frames)
            counts[word_of[word], spoken] += 1
    return counts
