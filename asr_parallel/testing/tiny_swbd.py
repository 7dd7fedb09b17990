"""A synthetic Switchboard corpus of a minute or less, for tests."""

from pathlib import Path

from asr_parallel.corpus.synthetic.corpus import SpeechKind, write_corpus


def write_tiny_tree(
    root: Path, seed: int = 0, conversations: int = 2, seconds: float = 20, speech: SpeechKind = "tones"
) -> dict[str, float]:
    """Write a small corpus with the real layout and every kind of token, by the code that makes the whole corpus.

    Args:
        root: folder of the corpus, created if missing.
        seed: random seed.
        conversations: number of training conversations; the evaluation has two files, one sw_ and one en_.
        seconds: speech in each call, both sides together.
        speech: "tones" needs no optional package; "espeak" needs the extra `synth`.

    Returns:
        Counts by name, as for `write_corpus`.
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
