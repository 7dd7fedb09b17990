"""lhotse manifests: recordings with supervisions, or cuts, as jsonl files or in lhotse's Shar format.

Utterances are the supervisions, at the times of their cut.

Audio that is a command or a URL is refused: commands from data files are never run, and nothing is downloaded.
"""

import json
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lhotse import Recording, SupervisionSegment
    from lhotse.cut import Cut, MixedCut

ENDINGS = (".jsonl.gz", ".jsonl")
# What lhotse raises on manifests that are damaged or of another kind
BAD_MANIFEST = (
    OSError, EOFError, zlib.error, tarfile.TarError, json.JSONDecodeError, UnicodeError, LookupError, TypeError,
    AttributeError, AssertionError,
)  # fmt: skip
PLAIN_SOURCES = {"file", "memory"}  # memory: of Shar archives


@dataclass(frozen=True)
class Manifests:
    """The files of one set: a manifest of cuts, a Shar folder, or manifests of recordings and supervisions."""

    cuts: Path | None = None
    shar: Path | None = None
    recordings: Path | None = None
    supervisions: Path | None = None

    @property
    def inputs(self) -> dict[str, Path]:
        """Name -> file or folder."""
        every = {"cuts": self.cuts, "shar": self.shar, "recordings": self.recordings, "supervisions": self.supervisions}
        return {name: path for name, path in every.items() if path is not None}

    @property
    def place(self) -> Path:
        """The folder that relative paths of audio files may begin at."""
        first = next(iter(self.inputs.values()))
        return first if self.shar else first.parent


@dataclass(frozen=True)
class Sound:
    """A recording, or a mixed cut, whose audio lhotse loads.

    recordings: what it is made of. channels: their numbers in the manifest, in the order of the audio's.
    """

    id: str
    source: "Recording | MixedCut"
    recordings: Sequence["Recording"]
    channels: Sequence[int]

    @property
    def plain_file(self) -> Path | None:
        """The audio file, where it is all there is to the sound."""
        first = self.recordings[0] if self.recordings else None
        if first is not self.source or first.transforms or [one.type for one in first.sources] != ["file"]:
            return None
        return Path(str(first.sources[0].source))

    @property
    def description(self) -> str:
        """A text with all that the audio is made of, by which two sounds of one id are told apart."""
        files = [[source.source for source in one.sources if source.type == "file"] for one in self.recordings]
        made = [(one.id, one.sampling_rate, one.num_samples, one.transforms) for one in self.recordings]
        return repr((made, files))


@dataclass(frozen=True)
class Item:
    """An utterance in its sound, and what is wrong with it, if anything."""

    id: str
    sound: Sound | None
    supervision: "SupervisionSegment | None"
    start: float = 0.0
    problem: str = ""


def find_manifests(source: Path, name: str) -> Manifests:
    """Return the manifests of the set `name` at `source`.

    Args:
        source: a manifest of cuts, a Shar folder, or a folder with, for the set NAME, a Shar folder NAME, or manifests
            whose names end in cuts_NAME, or recordings_NAME and supervisions_NAME, as lhotse's recipes write them.

    Raises:
        ValueError: there are none, or several.
    """
    if source.is_file():
        return Manifests(cuts=source)
    for folder in (source / name, source):
        if any(_files(folder, "cuts.000000")):
            return Manifests(shar=folder)
    found = {kind: _files(source, f"{kind}_{name}") for kind in ("cuts", "recordings", "supervisions")}
    for kind, paths in found.items():
        if len(paths) > 1:
            names = " and ".join(path.name for path in paths[:2])
            raise ValueError(f"{source}: {len(paths)} manifests of {kind} of set {name}: {names}; expected one")
    if found["cuts"]:
        return Manifests(cuts=found["cuts"][0])
    if not (found["recordings"] and found["supervisions"]):
        raise ValueError(
            f"{source}: no lhotse manifests of set {name}; expected *cuts_{name}.jsonl.gz,"
            f" *recordings_{name}.jsonl.gz and *supervisions_{name}.jsonl.gz, or a Shar folder {name}"
        )
    return Manifests(recordings=found["recordings"][0], supervisions=found["supervisions"][0])


def _files(folder: Path, ending: str) -> list[Path]:
    return sorted(path for last in ENDINGS for path in folder.glob(f"*{ending}{last}"))


@contextmanager
def reading(manifests: Manifests) -> Iterator[None]:
    """Turn what lhotse raises on a bad manifest into a ValueError that names it."""
    from lhotse.audio import audio_backend

    where = " and ".join(map(str, manifests.inputs.values()))
    try:
        with audio_backend("LibsndfileBackend"):  # the default one runs sph2pipe on SPHERE files
            yield
    except BAD_MANIFEST as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{where}: not a manifest that lhotse can read: {said}") from error


def read_items(manifests: Manifests) -> Iterator[Item]:
    """Yield the utterances of a set.

    Raises:
        ValueError: a manifest that lhotse cannot read, or a recording that is a command or a URL.
    """
    from lhotse import CutSet, RecordingSet, SupervisionSet

    place = manifests.place
    if manifests.recordings is None or manifests.supervisions is None:
        if manifests.shar is not None:
            cuts: Iterable[Cut] = CutSet.from_shar(in_dir=manifests.shar)
        else:
            cuts = CutSet.from_file(manifests.cuts)
        for cut in cuts:
            yield from _items_of(cut, place)
        return
    sounds = {one.id: _sound(one, place) for one in RecordingSet.from_file(manifests.recordings)}
    for one in SupervisionSet.from_file(manifests.supervisions):
        sound = sounds.get(one.recording_id)
        yield Item(one.id, sound, one, one.start, "" if sound else f"no recording {one.recording_id} in the manifest")


def _items_of(cut: "Cut", place: Path) -> Iterator[Item]:
    """Yield the utterances of a cut: at times of its recording, or of itself where it is a mixed one."""
    from lhotse.cut import MixedCut
    from lhotse.cut.data import DataCut

    if isinstance(cut, MixedCut):
        parts = [track.cut.recording for track in cut.tracks if getattr(track.cut, "recording", None) is not None]
        sound, offset = Sound(cut.id, cut, [_located(one, place) for one in parts], (0,)), 0.0
    elif isinstance(cut, DataCut) and cut.has_recording:
        sound, offset = _sound(cut.recording, place), cut.start
        if any(source.type == "memory" for source in cut.recording.sources):
            sound = replace(sound, id=cut.id)  # Shar has a part of the recording for each cut, all with its id
    else:
        yield Item(cut.id, None, None, problem="a cut without recording; expected audio, not features alone")
        return
    for one in cut.supervisions:
        yield Item(one.id, sound, one, offset + one.start)


def _sound(one: "Recording", place: Path) -> Sound:
    return Sound(one.id, one, [_located(one, place)], one.channel_ids)


def _located(one: "Recording", place: Path) -> "Recording":
    """Return a recording whose paths are relative to the working directory, as lhotse has it, or else to `place`.

    Raises:
        ValueError: its audio is not in plain files.
    """
    for source in one.sources:
        if source.type not in PLAIN_SOURCES:
            raise ValueError(
                f"recording {one.id}: its audio is of type {source.type!r}; expected plain files: commands from data"
                " files are never run, and nothing is downloaded, so write the sound to a file first"
            )
        if source.type == "file" and not Path(str(source.source)).exists():
            source.source = str(place / str(source.source))
    return one


def sound_paths(items: Iterable[Item]) -> dict[str, Path]:
    """Return the audio files that utterances are in and that are there, by recording and number of the file."""
    found: dict[str, Path] = {}
    for item in items:
        for one in item.sound.recordings if item.sound else ():
            named = [Path(str(source.source)) for source in one.sources if source.type == "file"]
            found |= {f"{one.id} {n}": path for n, path in enumerate(named)}
    return {name: path for name, path in found.items() if path.is_file()}
