"""Lists of connected-digit utterances: their recordings, in order, and the pauses between them.

The recipe ships the lists of the published results (recipes/digits/lists). `generate_lists` makes others like them
from the recordings and a seed.

lists/SET.list   UTT-ID SPEAKER GAP REC GAP REC GAP ... REC GAP     GAP: a pause in milliseconds
lists/SET.text   UTT-ID word word ...
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from asr_parallel.record.files import read_lines

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
LIST_OF_SET = {"train": "train", "dev": "dev", "eval": "test"}  # data set -> name of its list
# Shape of generated lists: that of the lists of the published results, so that results are comparable
DEV_INDICES = range(5)  # recordings 0-4 of a digit are for dev: the corpus' own convention for its test part
USES_IN_TRAINING = 3
WORDS_IN_UTTERANCE = (3, 7)
GAPS_BETWEEN_MS = (0, 0, 20, 50, 100, 150, 200)  # no pause is twice as likely as any one pause
GAPS_OUTSIDE_MS = tuple(range(100, 300, 10))


@dataclass(frozen=True, slots=True)
class DigitUtterance:
    """A connected-digit utterance: recordings (file names) and the len(recordings) + 1 pauses around them."""

    id: str
    speaker: str
    recordings: tuple[str, ...]
    gaps_ms: tuple[int, ...]

    @property
    def text(self) -> str:
        """The transcript, from the names of the recordings."""
        return " ".join(WORDS[int(recording[0])] for recording in self.recordings)

    def line(self) -> str:
        """Return the utterance as a line of a list."""
        pairs = (f"{gap} {recording}" for gap, recording in zip(self.gaps_ms, self.recordings, strict=False))
        return " ".join([self.id, self.speaker, *pairs, str(self.gaps_ms[-1])])


def read_lists(folder: Path) -> dict[str, list[DigitUtterance]]:
    """Read the utterances of the sets train, dev and eval from a folder of lists.

    Raises:
        ValueError: a missing file, a malformed line, an id or recording that is not a plain file name, a duplicate
            id, or a text that differs from its list.
    """
    sets = {}
    seen: set[str] = set()
    for set_name, stem in LIST_OF_SET.items():
        path = folder / f"{stem}.list"
        for file in (path, path.with_suffix(".text")):
            if not file.is_file():
                raise ValueError(f"{folder}: no {file.name}; expected lists: train, dev and test, .list and .text each")
        utterances = [_parse(line, f"{path}: line {n}") for n, line in enumerate(read_lines(path), 1) if line.strip()]
        for utterance in utterances:
            if utterance.id in seen:
                raise ValueError(f"{path}: utterance id {utterance.id} appears twice")
            seen.add(utterance.id)
        _check_text(path.with_suffix(".text"), utterances)
        sets[set_name] = utterances
    return sets


def _parse(line: str, where: str) -> DigitUtterance:
    fields = line.split()
    gaps, recordings = fields[2::2], fields[3::2]
    if len(fields) < 5 or len(fields) % 2 == 0 or not all(gap.isdecimal() for gap in gaps):
        raise ValueError(f"{where}: expected 'UTT-ID SPEAKER GAP REC GAP ... REC GAP' with pauses in milliseconds")
    for name in (fields[0], *recordings):
        if Path(name).name != name or name.startswith("."):
            raise ValueError(f"{where}: {name!r} is not a plain file name")
    for name in recordings:
        if not (name[0].isascii() and name[0].isdecimal() and name[1:2] == "_"):
            raise ValueError(f"{where}: recording {name!r} is not named DIGIT_SPEAKER_INDEX.wav")
    return DigitUtterance(fields[0], fields[1], tuple(recordings), tuple(int(gap) for gap in gaps))


def _check_text(path: Path, utterances: Iterable[DigitUtterance]) -> None:
    wanted = {utterance.id: utterance.text for utterance in utterances}
    for n, line in enumerate(read_lines(path), 1):
        key, *words = line.split() or [""]
        if key and wanted.pop(key, None) != " ".join(words):
            raise ValueError(f"{path}: line {n}: the words of {key} do not fit its list (or it appears twice)")
    if wanted:
        raise ValueError(f"{path}: no line for utterance {next(iter(wanted))} of its list")


def generate_lists(
    recordings: Iterable[str], test_speakers: Sequence[str], seed: int
) -> dict[str, list[DigitUtterance]]:
    """Generate lists from the names of recordings; the seed determines them.

    Eval has all recordings of `test_speakers`. Of the other speakers, dev has the first five recordings of each digit,
    used once; train has the rest, each used in three utterances.

    Raises:
        ValueError: a test speaker without recordings, or no speaker left to train on.
    """
    by_speaker: dict[str, list[str]] = {}
    for name in sorted(recordings):
        by_speaker.setdefault(name.split("_")[1], []).append(name)
    for speaker in test_speakers:
        if speaker not in by_speaker:
            raise ValueError(f"no recordings of test speaker {speaker!r}; the corpus has {', '.join(by_speaker)}")
    sets: dict[str, list[DigitUtterance]] = {set_name: [] for set_name in LIST_OF_SET}
    for speaker, names in by_speaker.items():
        rng = random.Random(f"{seed} {speaker}")
        if speaker in test_speakers:
            sets["eval"] += _chain(names, speaker, "t", rng)
            continue
        unseen = {name for name in names if int(Path(name).stem.split("_")[2]) in DEV_INDICES}
        sets["dev"] += _chain(sorted(unseen), speaker, "d", rng)
        for use in range(USES_IN_TRAINING):
            sets["train"] += _chain([name for name in names if name not in unseen], speaker, "abc"[use], rng)
    if not sets["train"]:
        raise ValueError("no speaker left to train on; give fewer test speakers")
    return sets


def _chain(names: Sequence[str], speaker: str, part: str, rng: random.Random) -> list[DigitUtterance]:
    """Shuffle recordings and cut the sequence into utterances with random pauses."""
    row = list(names)
    rng.shuffle(row)
    utterances: list[DigitUtterance] = []
    while row:
        count = min(rng.randint(*WORDS_IN_UTTERANCE), len(row))
        taken, row = row[:count], row[count:]
        inner = [rng.choice(GAPS_BETWEEN_MS) for _ in taken[1:]]
        gaps = (rng.choice(GAPS_OUTSIDE_MS), *inner, rng.choice(GAPS_OUTSIDE_MS))
        utterances.append(DigitUtterance(f"{speaker}-{part}{len(utterances):04d}", speaker, tuple(taken), gaps))
    return utterances
