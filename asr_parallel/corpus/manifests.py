"""lhotse recordings and supervisions, made from the headers of audio files.

lhotse's own recipes for these corpora are not used: they raise KeyError or IndexError on a missing side or an empty
segment, name speakers after the conversation only (both sides alike), put a side named A1 on the second
channel, and hand every .sph path to a shell command.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from asr_parallel.corpus.audio import AudioInfo
from asr_parallel.record.log import logger

if TYPE_CHECKING:
    from lhotse import Recording, SupervisionSegment


def recording(recording_id: str, path: Path, info: AudioInfo) -> "Recording":
    """Return the lhotse recording of an audio file, with its absolute path; libsndfile must be able to read it."""
    from lhotse import AudioSource, Recording

    source = AudioSource(type="file", channels=list(range(info.channels)), source=str(path.absolute()))
    return Recording(recording_id, [source], info.sampling_rate, info.samples, info.duration)


def supervision(
    utterance_id: str, recording_id: str, channel: int, start: float, end: float, speaker: str, text: str
) -> "SupervisionSegment":
    """Return a transcribed segment: `start` to `end` seconds of one channel (0 is the first)."""
    from lhotse import SupervisionSegment

    # rounded, because 0.3 - 0.1 must not become 0.19999999999999998 in the manifest
    duration = round(end - start, 8)
    return SupervisionSegment(
        utterance_id, recording_id, start, duration, channel=channel, text=text, language="English", speaker=speaker
    )


def log_counts(set_name: str, recordings: int, supervisions: list["SupervisionSegment"]) -> None:
    """Log one line: recordings, utterances, words, speakers and hours of a data set."""
    logger.info(
        "data set %s: %d recordings, %d utterances, %d words, %d speakers, %.2f hours",
        set_name,
        recordings,
        len(supervisions),
        sum(len((s.text or "").split()) for s in supervisions),
        len({s.speaker for s in supervisions}),
        sum(s.duration for s in supervisions) / 3600,
    )
