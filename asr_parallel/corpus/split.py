"""Holding out development data from training data, by conversation or by speaker."""

from collections.abc import Sequence
from pathlib import Path

from asr_parallel.corpus.datadir import read_manifest, sound_files, write_data
from asr_parallel.corpus.swbd import Conversation
from asr_parallel.record.log import logger

DEV_UTTERANCES = 4000  # Kaldi's s5c holds out the first 4,000
FULL_SIZE_UTTERANCES = 40_000  # from this size, 4,000 are at most a tenth
DEV_SHARE = 0.07  # of a smaller corpus
DEV_OVERFULL = 1.25  # dev may exceed its size by this factor to keep speakers together


def hold_out_conversations(
    conversations: Sequence[Conversation], dev_utterances: int | None = None
) -> tuple[list[Conversation], list[Conversation]]:
    """Return training and development conversations, in order.

    Dev takes the first conversations until it has `dev_utterances` (None: 4,000 of a full-size corpus, 7 % of a smaller
    one), such that no speaker is in both parts if possible. Conversations without utterances are in neither.

    Raises:
        ValueError: fewer than two conversations, or none would be left for training.
    """
    conversations = [c for c in conversations if c.supervisions]
    total = sum(len(c.supervisions) for c in conversations)
    if len(conversations) < 2:
        raise ValueError(f"{len(conversations)} conversation found; expected at least 2, one for train and one for dev")
    if dev_utterances is None:
        dev_utterances = DEV_UTTERANCES if total >= FULL_SIZE_UTTERANCES else max(1, round(DEV_SHARE * total))
    if not 0 < dev_utterances < total:
        raise ValueError(f"--dev-utterances {dev_utterances}: expected 1 to {total - 1}, one less than there are")
    chosen: set[str] = set()
    size = 0
    for group in _linked_by_speakers(conversations):
        group_size = sum(len(c.supervisions) for c in group)
        if size < dev_utterances and size + group_size <= DEV_OVERFULL * dev_utterances:
            chosen |= {c.id for c in group}
            size += group_size
    if size < dev_utterances / 2:  # speakers link most conversations, or conversations are long
        chosen, size = set(), 0
        for conversation in conversations[:-1]:
            if size < dev_utterances:
                chosen.add(conversation.id)
                size += len(conversation.supervisions)
    train = [c for c in conversations if c.id not in chosen]
    dev = [c for c in conversations if c.id in chosen]
    if not size or size == total:
        raise ValueError(f"--dev-utterances {dev_utterances}: no way to split whole conversations into train and dev")
    shared = set().union(*(c.speakers for c in train)) & set().union(*(c.speakers for c in dev))
    if shared:
        logger.warning("%d speakers are in both train and dev: the conversations share them", len(shared))
    return train, dev


def _linked_by_speakers(conversations: Sequence[Conversation]) -> list[list[Conversation]]:
    """Return the groups of conversations that share no speaker with another group, ordered by first conversation."""
    parent: dict[str, str] = {}  # union-find forest over speakers; the root identifies a group

    def root(speaker: str) -> str:
        while parent.setdefault(speaker, speaker) != speaker:
            parent[speaker] = parent[parent[speaker]]
            speaker = parent[speaker]
        return speaker

    firsts = []
    for conversation in conversations:
        first, *others = sorted(conversation.speakers)
        firsts.append(first)
        for other in others:
            parent[root(other)] = root(first)
    groups: dict[str, list[Conversation]] = {}
    for conversation, first in zip(conversations, firsts, strict=True):
        groups.setdefault(root(first), []).append(conversation)
    return list(groups.values())


def leave_speaker_out(data: Path, speaker: str, out: Path) -> None:
    """Write the data sets train, dev and eval to `out`, with one training speaker as the evaluation set.

    They serve to tune settings for unseen speakers without looking at the test set.

    Args:
        data: folder with the data folders train and dev.
        speaker: `out`/eval is this speaker's part of train; `out`/train and `out`/dev are the other speakers' parts.

    Raises:
        ValueError: no such speaker in train, or no other speaker in one of the sets.
    """
    from lhotse import Recording, RecordingSet, SupervisionSegment, SupervisionSet

    for source, parts in (("train", {"train": False, "eval": True}), ("dev", {"dev": False})):
        paths = sound_files(data / source)
        recordings = read_manifest(data / source / "recordings.jsonl.gz", Recording.from_dict)
        for recording in recordings:
            recording.sources[0].source = str(paths[recording.id])
        supervisions = read_manifest(data / source / "supervisions.jsonl.gz", SupervisionSegment.from_dict)
        for part, left_out in parts.items():
            kept = [s for s in supervisions if (s.speaker == speaker) is left_out]
            if not kept:
                speakers = ", ".join(sorted({s.speaker for s in supervisions}))
                raise ValueError(f"{data / source}: cannot leave out speaker {speaker!r}; its speakers: {speakers}")
            used = {s.recording_id for s in kept}
            write_data(
                out / part,
                RecordingSet.from_recordings(r for r in recordings if r.id in used),
                SupervisionSet.from_segments(kept),
            )
