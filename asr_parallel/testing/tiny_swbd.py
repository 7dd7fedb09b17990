"""A synthetic Switchboard tree of a minute or less."""

from pathlib import Path

from asr_parallel.corpus.synthetic.corpus import SpeechKind, write_corpus


def write_tiny_tree(
    root: Path, seed: int = 0, conversations: int = 2, seconds: float = 20, speech: SpeechKind = "tones"
) -> dict[str, float]:
    """Write a tree with the true layout and every kind of token, by the same code as the whole corpus.

    Args:
        root: folder to fill (made if need be).
        seed: decides everything.
        conversations: to train on; the evaluation has two files, one sw_ and one en_.
        seconds: of speech in each call, both sides together.
        speech: "tones" needs no optional package; "espeak" needs the extra `synth`.

    Returns:
        Counts by name, as `write_corpus`.
    """
    return write_corpus(
        root,
        hours=conversations * seconds / 3600,
        eval_hours=2 * seconds / 3600,
        seed=seed,
        speech=speech,
        conversations=conversations,
        eval_files=2,
    )
