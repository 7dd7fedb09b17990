"""Export of alignments as CTM files and Praat TextGrids: words and phones with their times.

words.ctm phones.ctm    recording channel start duration symbol; seconds in the recording
textgrids/UTT-ID.TextGrid    tiers "words" and "phones"; seconds in the utterance
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from praatio import textgrid

from asr_parallel.corpus.datadir import Utterance
from asr_parallel.corpus.nist_files import CtmWord, stm_channel, write_ctm
from asr_parallel.features.extractors import FRAME_SHIFT_SECONDS
from asr_parallel.hmm.alignment import AlignmentSet
from asr_parallel.hmm.lang import Lang
from asr_parallel.hmm.transitions import TransitionModel
from asr_parallel.hmm.word_times import Times, WordTimes
from asr_parallel.record.progress_bar import progress


def write_times(
    folder: Path,
    alignments: AlignmentSet,
    transitions: TransitionModel,
    lang: Lang,
    utterances: Sequence[Utterance],
    textgrids: bool = False,
    channels: Mapping[str, tuple[str, str]] | None = None,
) -> None:
    """Write word and phone times of all aligned utterances into `folder`.

    Args:
        channels: recording id -> (name, channel) for the CTM files, from the data folder's read_channels.

    Raises:
        ValueError: an alignment belongs to no utterance or does not fit its transcript.
    """
    of_id = {utterance.id: utterance for utterance in utterances}
    finder = WordTimes(lang, transitions)
    words = {number: word for word, number in lang.words.items()}
    phones = {number: phone for phone, number in lang.phones.items()}
    word_lines: list[CtmWord] = []
    phone_lines: list[CtmWord] = []
    for name, tids in progress(
        zip(alignments.ids, alignments, strict=True), "word times", total=len(alignments), unit="utterances"
    ):
        if name not in of_id:
            raise ValueError(f"alignment of {name}: no such utterance in the data folder")
        utterance = of_id[name]
        try:
            word_times = finder.words(tids, lang.word_ids(utterance.text))
        except ValueError as error:
            raise ValueError(f"alignment of {name}: {error}") from error
        phone_times = finder.phones(tids)
        channel = stm_channel(utterance.recording_id, utterance.channel, channels or {})
        word_lines += _ctm(channel, utterance.start, word_times, words)
        phone_lines += _ctm(channel, utterance.start, phone_times, phones)
        if textgrids:
            path = folder / "textgrids" / f"{name.replace('/', '_')}.TextGrid"
            _write_textgrid(path, len(tids), {"words": (word_times, words), "phones": (phone_times, phones)})
    write_ctm(folder / "words.ctm", word_lines)
    write_ctm(folder / "phones.ctm", phone_lines)


def _ctm(channel: tuple[str, str], begin: float, times: Times, symbols: dict[int, str]) -> list[CtmWord]:
    return [
        CtmWord(
            *channel,
            begin + start * FRAME_SHIFT_SECONDS,
            frames * FRAME_SHIFT_SECONDS,
            symbols[number],
        )
        for number, start, frames in times
    ]


def _write_textgrid(path: Path, num_frames: int, tiers: dict[str, tuple[Times, dict[int, str]]]) -> None:
    grid = textgrid.Textgrid()
    end = round(num_frames * FRAME_SHIFT_SECONDS, 2)
    for name, (times, symbols) in tiers.items():
        intervals = [
            (round(s * FRAME_SHIFT_SECONDS, 2), round((s + n) * FRAME_SHIFT_SECONDS, 2), symbols[number])
            for number, s, n in times
        ]
        grid.addTier(textgrid.IntervalTier(name, intervals, 0.0, end))
    path.parent.mkdir(parents=True, exist_ok=True)
    grid.save(str(path), "long_textgrid", includeBlankSpaces=True)
