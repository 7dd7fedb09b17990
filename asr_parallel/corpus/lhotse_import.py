"""Import of lhotse manifests as a data folder.

A recording that is one plain file is used where it is. All else that lhotse can describe (several files, resampling and
other transforms, mixed cuts, audio in Shar archives) is loaded by lhotse and written as FLAC of 16 bits into the data
folder.
"""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile

from asr_parallel.corpus.audio import AudioInfo, inspect_audio
from asr_parallel.corpus.datadir import write_data
from asr_parallel.corpus.kaldi_dir import check_rates, without_sentence_marks
from asr_parallel.corpus.lhotse_manifests import (
    Item,
    Manifests,
    Sound,
    find_manifests,
    read_items,
    reading,
    sound_paths,
)
from asr_parallel.corpus.manifests import log_counts, recording, supervision
from asr_parallel.corpus.set_names import TRAINING_SET
from asr_parallel.corpus.validate import MAX_BAD_SHARE, Dropped, fit_times, write_dropped
from asr_parallel.record.log import logger
from asr_parallel.record.progress_bar import progress
from asr_parallel.record.stage import run_stage

if TYPE_CHECKING:
    from lhotse import Recording, SupervisionSegment

AUDIO = "audio"  # folder, in the data folder, of what lhotse has loaded


class SoundWriter:
    """The recordings of a data folder: audio files where they are, and what lhotse loads, as FLAC files.

    Attributes:
        recordings: by id, those that are good.
        infos: the same, for the check of sampling rates.
    """

    def __init__(self, folder: Path, out: Path, sampling_rate: int | None) -> None:
        """Take the folder that is written, the path that it will have, and the rate to keep (Hz; None: all)."""
        self._folder, self._out, self._sampling_rate = folder / AUDIO, out / AUDIO, sampling_rate
        self.recordings: dict[str, Recording] = {}
        self.infos: dict[str, AudioInfo] = {}
        self._bad: dict[str, str] = {}
        self._descriptions: dict[str, str] = {}

    def add(self, sound: Sound) -> "Recording":
        """Return the recording of a sound.

        Raises:
            ValueError: it cannot be read, or is not as its manifest says.
        """
        if self._descriptions.setdefault(sound.id, sound.description) != sound.description:
            raise ValueError(f"recording {sound.id} is there with other audio, too; expected an id of its own for each")
        if sound.id in self._bad:
            raise ValueError(self._bad[sound.id])
        if sound.id not in self.recordings:
            try:
                path, self.infos[sound.id] = self._made(sound)
            except ValueError as error:
                self._bad[sound.id] = str(error)
                raise
            self.recordings[sound.id] = recording(sound.id, path, self.infos[sound.id])
        return self.recordings[sound.id]

    def _made(self, sound: Sound) -> tuple[Path, AudioInfo]:
        rate, path = sound.source.sampling_rate, sound.plain_file
        if self._sampling_rate not in (None, rate):
            raise ValueError(f"recording {sound.id}: at {rate} Hz; expected {self._sampling_rate} Hz")
        if path is None:
            return self._written(sound)
        info = inspect_audio(path)
        for unit, said, found in (
            ("Hz", rate, info.sampling_rate), ("samples", sound.source.num_samples, info.samples),
            ("channels", len(sound.channels), info.channels),
        ):  # fmt: skip
            if said != found:
                raise ValueError(f"{path}: {found} {unit}; its manifest says {said}")
        return path, info

    def _written(self, sound: Sound) -> tuple[Path, AudioInfo]:
        """Let lhotse load a sound and write it."""
        rate = int(sound.source.sampling_rate)
        try:
            samples = np.atleast_2d(sound.source.load_audio())
        except Exception as error:  # lhotse raises errors of many kinds for audio that it cannot load
            said = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ValueError(f"recording {sound.id}: lhotse cannot load it: {said}") from error
        if not samples.size or not np.isfinite(samples).all():
            raise ValueError(f"recording {sound.id}: expected samples, all of them finite")
        if (loudest := np.abs(samples).max()) > 1:
            logger.warning("recording %s: its loudest sample is %.2f of full scale; cut to 1", sound.id, loudest)
        self._folder.mkdir(exist_ok=True)
        name = f"{len(self.recordings):08d}.flac"  # an id may have letters that no file's name can have
        flac = io.BytesIO()  # encoded in memory: libsndfile does not distinguish a full disk from a broken file
        soundfile.write(flac, np.clip(samples, -1, 1).T, rate, format="FLAC", subtype="PCM_16")
        (self._folder / name).write_bytes(flac.getvalue())
        return self._out / name, AudioInfo(samples.shape[1], samples.shape[0], rate)


def import_manifests(
    manifests: Manifests,
    items: Iterable[Item],
    name: str,
    folder: Path,
    out: Path,
    sampling_rate: int | None = None,
    max_bad_share: float = MAX_BAD_SHARE,
    like: Path | None = None,
    keep_empty: bool = False,
) -> None:
    """Write the data folder of the set `name` into `folder`, which will be `out`.

    Recordings that are missing, unreadable, or not as the manifest says are left out and counted, with their
    utterances; so are utterances with bad times, without a speaker or, unless `keep_empty`, without words.

    Args:
        items: the utterances of the manifests.
        sampling_rate, like: see `kaldi_dir.import_kaldi_directory`.

    Raises:
        ValueError: a manifest that lhotse cannot read, audio that is a command or a URL, an utterance that is there
            twice, recordings of several sampling rates, too much left out, or no words at all.
    """
    from lhotse import RecordingSet, SupervisionSet

    writer = SoundWriter(folder, out, sampling_rate)
    dropped, supervisions, seen = Dropped("utterances"), dict[str, Any](), set[str]()
    with reading(manifests):
        for item in progress(items, f"importing {name}", unit="utterances"):
            if item.id in seen:
                raise ValueError(f"{name}: utterance {item.id} is there twice; expected each id once")
            seen.add(item.id)
            try:
                supervisions[item.id] = _utterance(item, writer, keep_empty)
            except ValueError as error:
                dropped.bad.append((item.id, str(error)))
    dropped.check(name, len(supervisions), max_bad_share)
    if sampling_rate is None:
        check_rates(next(iter(manifests.inputs.values())), writer.infos, like)
    texts = without_sentence_marks({key: one.text for key, one in supervisions.items()}, manifests.place)
    for key, one in supervisions.items():
        one.text = texts[key]
    if not any(texts.values()):
        raise ValueError(f"data set {name}: all {len(texts)} transcripts are empty; expected supervisions with text")
    used = {one.recording_id for one in supervisions.values()}
    write_data(
        folder,
        RecordingSet.from_recordings(one for key, one in writer.recordings.items() if key in used),
        SupervisionSet.from_segments(supervisions.values()),
    )
    write_dropped(folder, [dropped])
    log_counts(name, len(used), list(supervisions.values()))


def _utterance(item: Item, writer: SoundWriter, keep_empty: bool) -> "SupervisionSegment":
    """Return the supervision of an utterance; ValueError with what is wrong with it."""
    given, sound = item.supervision, item.sound
    if item.problem or given is None or sound is None:
        raise ValueError(item.problem)
    for what, value in (("id", item.id), ("recording", sound.id), ("speaker", given.speaker or "")):
        if len(value.split()) != 1:
            raise ValueError(f"{what} {value!r}: expected one word")
    text = " ".join((given.text or "").split())
    if not (text or keep_empty):
        raise ValueError("empty transcript")
    made = writer.add(sound)
    asked = given.channel[0] if isinstance(given.channel, list) else given.channel
    if len(sound.channels) > 1 and asked not in sound.channels:
        raise ValueError(f"channel {asked} of recording {sound.id}; expected one of {list(sound.channels)}")
    channel = sound.channels.index(asked) if len(sound.channels) > 1 else 0
    start, end = fit_times(item.start, item.start + given.duration, made.duration)
    return supervision(item.id, sound.id, channel, start, end, str(given.speaker), text)


def import_lhotse(
    source: Path,
    out: Path,
    name: str | None = None,
    sampling_rate: int | None = None,
    max_bad_share: float = MAX_BAD_SHARE,
    like: Path | None = None,
    keep_empty: bool | None = None,
) -> None:
    """Run `import_manifests` as stage 0, into `out` (E/data/NAME).

    Args:
        source, name: see `find_manifests`; the set's name is that of `out` unless given.
        keep_empty: keep utterances with an empty transcript; None: unless the folder's name is train.

    Raises:
        ValueError: see `find_manifests` and `import_manifests`.
    """
    if not source.exists():
        raise ValueError(f"{source}: is not there; expected lhotse manifests")
    manifests = find_manifests(source, name or out.name)
    keep = out.name != TRAINING_SET if keep_empty is None else keep_empty
    items: Iterable[Item] = read_items(manifests)
    sounds: dict[str, Path] = {}
    if manifests.shar is None:  # else the audio is in the archives, and not to be kept in memory
        with reading(manifests):
            items = list(items)
        sounds = sound_paths(items)

    def make(folder: Path) -> None:
        import_manifests(manifests, items, out.name, folder, out, sampling_rate, max_bad_share, like, keep)

    run_stage(
        out,
        make,
        number=0,
        inputs=manifests.inputs | ({"like": like} if like else {}),
        options={"sampling_rate": sampling_rate, "max_bad_share": max_bad_share, "keep_empty": keep},
        sounds=sounds,
        places=sounds.values(),
    )
