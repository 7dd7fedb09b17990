"""Data preparation of recipe swbd (stage 0), from the LDC's discs or a synthetic corpus of the same layout."""

from functools import cache
from pathlib import Path

from asr_parallel.corpus.datadir import write_data
from asr_parallel.corpus.eval2000 import prepare_eval2000
from asr_parallel.corpus.manifests import log_counts
from asr_parallel.corpus.split import hold_out_conversations
from asr_parallel.corpus.swbd import Conversation, check_conversations, read_conversations
from asr_parallel.corpus.validate import MAX_BAD_SHARE, Dropped, write_dropped
from asr_parallel.record.stage import run_stage


def prepare_swbd(
    audio: Path,
    transcripts: Path,
    eval_audio: Path,
    eval_transcripts: Path,
    out: Path,
    dev_utterances: int | None = None,
    max_bad_share: float = MAX_BAD_SHARE,
) -> None:
    """Write the data folders `out`/train, `out`/dev and `out`/eval, each as a stage of its own.

    Args:
        audio, transcripts: trees of LDC97S62 and of the MS-State transcripts (see `corpus.swbd`).
        eval_audio, eval_transcripts: trees of LDC2002S09 and LDC2002T43 (see `corpus.eval2000`).
        dev_utterances: number of utterances held out from training, in whole conversations (None: see `corpus.split`).
        max_bad_share: share of recordings, of sides and of utterances that may be left out as bad.

    Raises:
        ValueError: a wrong or missing tree, or more bad input than allowed.
    """
    for folder in (audio, transcripts, eval_audio, eval_transcripts):
        if not folder.is_dir():
            raise ValueError(f"{folder}: no such folder; expected a tree of the corpus")

    @cache
    def conversations() -> dict[str, tuple[list[Conversation], list[Dropped]]]:
        found, dropped = read_conversations(audio, transcripts)
        check_conversations(found, dropped, max_bad_share)
        train, dev = hold_out_conversations(found, dev_utterances)
        unused = [c for c in found if not c.supervisions]  # in neither set; listed in train's dropped.txt
        return {"train": (train, [dropped, *_dropped_of(unused)]), "dev": (dev, [])}

    for set_name in ("train", "dev"):

        def build(folder: Path, set_name: str = set_name) -> None:
            _write(folder, set_name, *conversations()[set_name])

        run_stage(
            out / set_name,
            build,
            number=0,
            inputs={"audio": audio, "transcripts": transcripts},
            options={"set": set_name, "dev_utterances": dev_utterances, "max_bad_share": max_bad_share},
            places=[audio],
        )
    run_stage(
        out / "eval",
        lambda folder: prepare_eval2000(folder, eval_audio, eval_transcripts, max_bad_share),
        number=0,
        inputs={"audio": eval_audio, "transcripts": eval_transcripts},
        options={"max_bad_share": max_bad_share},
        places=[eval_audio],
    )


def _dropped_of(conversations: list[Conversation]) -> list[Dropped]:
    return [dropped for c in conversations for dropped in (c.dropped_sides, c.dropped)]


def _write(folder: Path, set_name: str, conversations: list[Conversation], also_dropped: list[Dropped]) -> None:
    from lhotse import RecordingSet, SupervisionSet

    supervisions = [s for c in conversations for s in c.supervisions]
    recordings = RecordingSet.from_recordings(c.recording for c in conversations)
    write_data(folder, recordings, SupervisionSet.from_segments(supervisions))
    write_dropped(folder, [*also_dropped, *_dropped_of(conversations)])
    log_counts(set_name, len(conversations), supervisions)
