"""Files of the synthetic training set, in the layout of LDC97S62 (audio) and of the MS-State transcripts."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from asr_parallel.corpus.synthetic.segmentation import Segment
from asr_parallel.record.files import write_lines, write_text

AUDIO = "LDC97S62"
TRANSCRIPTS = "swb_ms98_transcriptions"
DISCS = 4  # Switchboard-1 Release 2 is four DVDs
DICTIONARY = "sw-ms98-dict.text"

README = """\
SYNTHETIC CORPUS. Nobody ever said this: the conversations were invented by a grammar and spoken by a machine
({engine}) through a simulated telephone. The layout is that of Switchboard-1 Release 2 (LDC97S62) with
the MS-State transcripts, and of the 2000 HUB5 English evaluation (LDC2002S09, LDC2002T43). None of their content
is here. Figures measured on this corpus must be called synthetic.
"""
ENGINES = {
    "espeak": "eSpeak NG, which is free software under the GNU General Public License, version 3 or later",
    "tones": "a pair of tones for every letter",
}


def audio_path(root: Path, conversation: int, disc: int) -> Path:
    """Return the path of a conversation's audio."""
    return root / AUDIO / f"swb1_d{disc}" / "data" / f"sw{conversation:05d}.sph"


def write_side(root: Path, conversation: int, side: int, segments: Sequence[Segment]) -> None:
    """Write `-trans.text` (segments) and `-word.text` (words) of a side."""
    stem = f"sw{conversation}{'AB'[side]}-ms98-a"
    folder = root / TRANSCRIPTS / f"{conversation:04d}"[:2] / f"{conversation}"
    lines, words = [], []
    for number, segment in enumerate(segments, 1):
        key = f"{stem}-{number:04d}"
        lines.append(f"{key} {segment.start:.6f} {segment.end:.6f} {' '.join(segment.transcript())}")
        words += [f"{key} {start:.6f} {end:.6f} {token.written}" for token, start, end in segment.timed_words()]
    write_lines(folder / f"{stem}-trans.text", lines)
    write_lines(folder / f"{stem}-word.text", words)


def write_documents(root: Path, discs: Mapping[int, int], speech: str) -> None:
    """Write the table of discs (conversation -> disc) and the readme."""
    write_lines(
        root / AUDIO / "docs" / "swb1_all.dvd.tbl",
        (f"swb1_d{disc}  sw{conversation:05d}.sph" for conversation, disc in sorted(discs.items())),
    )
    write_text(root / TRANSCRIPTS / "AAREADME.text", README.format(engine=ENGINES[speech]))


def write_dictionary(root: Path, pronunciations: Mapping[str, Iterable[Sequence[str]]]) -> None:
    """Write the dictionary: comments, then a line for each pronunciation, sorted by word."""
    lines = ["# Dictionary of the synthetic corpus: word, then phones. Silence is SIL.", "#"]
    for word in sorted(pronunciations):
        lines += [f"{word} {' '.join(phones)}" for phones in pronunciations[word]]
    write_lines(root / TRANSCRIPTS / DICTIONARY, lines)
