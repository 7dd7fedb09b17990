"""Data preparation of the digits recipe: utterances of connected digits, joined from recordings of single digits.

CORPUS/recordings/DIGIT_SPEAKER_INDEX.wav    single digits, mono, 8 kHz: the layout of the Free Spoken Digit Dataset
E/corpus/SET/UTT-ID.wav                      the joined utterances, with list, text and dropped.txt
E/data/SET/                                  data folders
"""

import hashlib
import io
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile

from asr_parallel.corpus.audio import inspect_audio, read_audio
from asr_parallel.corpus.datadir import write_data
from asr_parallel.corpus.digit_lists import LIST_OF_SET, DigitUtterance, generate_lists, read_lists
from asr_parallel.corpus.manifests import log_counts, recording, supervision
from asr_parallel.corpus.validate import DROPPED_FILE, MAX_BAD_SHARE, Dropped, write_dropped
from asr_parallel.record.files import read_lines, write_lines
from asr_parallel.record.progress_bar import progress
from asr_parallel.record.stage import run_stage

SAMPLING_RATE = 8000
# Standard deviation of the noise in pauses (16-bit steps): digital zero would give log energies that never occur in a
# real recording; 5 is the noise floor of the corpus' quietest speakers.
PAUSE_NOISE = 5.0
TEST_SPEAKERS = ("theo", "yweweler")  # held out in the published results
RECORDING_NAME = re.compile(r"[0-9]_[^_/]+_[0-9]+\.wav")
HOW_TO_GET = (
    "--corpus is needed: a folder in the layout of the Free Spoken Digit Dataset, e.g. a git clone of the public"
    " repository Jakobovski/free-spoken-digit-dataset on GitHub (22 minutes of speech, CC BY-SA 4.0)"
)


def find_recordings(corpus: Path) -> list[str]:
    """Return the file names of the corpus' recordings, sorted.

    Raises:
        ValueError: no such folder, or one of another layout.
    """
    folder = corpus / "recordings"
    if not corpus.is_dir():
        raise ValueError(f"{corpus}: no such folder; {HOW_TO_GET}")
    names = sorted(p.name for p in folder.iterdir() if RECORDING_NAME.fullmatch(p.name)) if folder.is_dir() else []
    if not names:
        raise ValueError(f"{corpus}: expected recordings/DIGIT_SPEAKER_INDEX.wav in it, found none")
    return names


def join_recordings(utterance: DigitUtterance, samples_of: Callable[[str], np.ndarray]) -> np.ndarray:
    """Concatenate recordings and pauses of an utterance: (N,) int16. The noise depends only on the utterance id."""
    seed = int.from_bytes(hashlib.sha256(utterance.id.encode()).digest()[:8], "little")
    rng = np.random.default_rng(seed)

    def pause(milliseconds: int) -> np.ndarray:
        return rng.normal(0.0, PAUSE_NOISE, milliseconds * SAMPLING_RATE // 1000).round()

    pieces = [pause(utterance.gaps_ms[0])]
    for name, gap in zip(utterance.recordings, utterance.gaps_ms[1:], strict=True):
        pieces += [samples_of(name), pause(gap)]
    return np.concatenate(pieces).astype(np.int16)


def write_corpus(
    folder: Path, corpus: Path, sets: Mapping[str, Sequence[DigitUtterance]], max_bad_share: float = MAX_BAD_SHARE
) -> None:
    """Write the utterances of all sets as mono wav files at 8 kHz to `folder`/SET/.

    An utterance with a recording that is missing, unreadable, truncated, not mono or not at 8 kHz is left out.

    Raises:
        ValueError: more than `max_bad_share` of a set is left out.
    """
    cache: dict[str, np.ndarray | ValueError] = {}

    def samples_of(name: str) -> np.ndarray:
        if name not in cache:
            path = corpus / "recordings" / name
            try:
                inspect_audio(path, SAMPLING_RATE, channels=1)
                cache[name] = read_audio(path)
            except ValueError as error:
                cache[name] = error
        found = cache[name]
        if isinstance(found, ValueError):
            raise found
        return found

    for set_name, utterances in sets.items():
        target = folder / set_name
        target.mkdir(parents=True)
        dropped = Dropped("utterances")
        made = []
        for utterance in progress(utterances, f"joining digits, {set_name}", unit="utterances"):
            try:
                samples = join_recordings(utterance, samples_of)
            except ValueError as error:
                dropped.bad.append((utterance.id, str(error)))
                continue
            # encoded in memory: libsndfile does not distinguish a full disk from a broken file
            wav = io.BytesIO()
            soundfile.write(wav, samples, SAMPLING_RATE, format="WAV", subtype="PCM_16")
            (target / f"{utterance.id}.wav").write_bytes(wav.getvalue())
            made.append(utterance)
        dropped.check(set_name, len(made), max_bad_share)
        write_dropped(target, [dropped])
        write_lines(target / "list", (utterance.line() for utterance in made))
        write_lines(target / "text", (f"{utterance.id} {utterance.text}" for utterance in made))


def write_data_folder(folder: Path, corpus_set: Path) -> None:
    """Write the data folder of one set made by `write_corpus`: each utterance is a recording and a supervision."""
    from lhotse import RecordingSet, SupervisionSet

    texts = dict(line.split(" ", 1) for line in read_lines(corpus_set / "text"))
    recordings, supervisions = [], []
    for line in read_lines(corpus_set / "list"):
        key, speaker = line.split()[:2]
        path = corpus_set / f"{key}.wav"
        info = inspect_audio(path, SAMPLING_RATE, channels=1)
        recordings.append(recording(key, path, info))
        supervisions.append(supervision(key, key, 0, 0.0, info.duration, speaker, texts[key]))
    write_data(folder, RecordingSet.from_recordings(recordings), SupervisionSet.from_segments(supervisions))
    write_lines(folder / DROPPED_FILE, read_lines(corpus_set / DROPPED_FILE))
    log_counts(corpus_set.name, len(recordings), supervisions)


def prepare_digits(
    corpus: Path,
    lists: Path | None,
    out: Path,
    test_speakers: Sequence[str] = TEST_SPEAKERS,
    seed: int = 1,
    max_bad_share: float = MAX_BAD_SHARE,
) -> None:
    """Run stage 0 of the digits recipe: `out`/corpus and `out`/data/{train,dev,eval}.

    Args:
        corpus: folder in the layout of the Free Spoken Digit Dataset.
        lists: folder of train, dev and test lists; None: generate them from `seed`, with `test_speakers` held out.
        max_bad_share: share of a set's utterances that may be left out because of bad audio.

    Raises:
        ValueError: as for `read_lists`, `find_recordings` and `write_corpus`.
    """
    names = find_recordings(corpus)
    sets = read_lists(lists) if lists else generate_lists(names, test_speakers, seed)
    inputs = {"recordings": corpus / "recordings"} | ({"lists": lists} if lists else {})
    run_stage(
        out / "corpus",
        lambda folder: write_corpus(folder, corpus, sets, max_bad_share),
        number=0,
        inputs=inputs,
        options={"max_bad_share": max_bad_share}
        | ({} if lists else {"test_speakers": list(test_speakers), "seed": seed}),
    )
    for set_name in LIST_OF_SET:
        corpus_set = out / "corpus" / set_name
        sounds = {path.name: path for path in sorted(corpus_set.glob("*.wav"))}
        run_stage(
            out / "data" / set_name,
            lambda folder, corpus_set=corpus_set: write_data_folder(folder, corpus_set),  # type: ignore[misc]
            number=0,
            inputs={"corpus": out / "corpus"},
            options={"set": set_name},
            sounds=sounds,
            places=[corpus_set],
        )
