"""The pronunciation dictionary: every plain word of the grammar, and the special tokens that occur."""

from collections.abc import Iterable, Mapping, Sequence

from asr_parallel.corpus.synthetic.language import grammar
from asr_parallel.corpus.synthetic.tokens import (
    ASIDES,
    BACKCHANNELS,
    COINAGES,
    HESITATIONS,
    LEAD_INS,
    MISPRONOUNCED,
    OPENERS,
    TAGS,
    WEAK_FORMS,
    Token,
)

Pronunciations = Mapping[str, Sequence[tuple[str, ...]]]


def plain_words() -> list[str]:
    """Return every word that may occur, sorted, except coined words."""
    phrases = " ".join([*HESITATIONS, *BACKCHANNELS, *OPENERS, *TAGS, *ASIDES, *LEAD_INS.values()])
    return sorted(grammar().words() | set(phrases.split()))


def odd_spellings() -> list[str]:
    """Return the spellings of mispronounced and weak forms: they need pronunciations, but no entries."""
    return sorted({*(spelt for _, spelt in MISPRONOUNCED.values()), *WEAK_FORMS.values()})


def dictionary(said: Pronunciations, tokens: Iterable[Token]) -> dict[str, list[tuple[str, ...]]]:
    """Return the entries of the dictionary.

    Args:
        said: pronunciations of `plain_words` and `odd_spellings`.
        tokens: all tokens of the transcripts. Partial words, mispronunciations and weak forms get entries in the
            notation of the transcripts, as in the MS-State dictionary.

    Raises:
        ValueError: a word without a pronunciation.
    """
    missing = [text for text in [*plain_words(), *odd_spellings()] if not said.get(text)]
    if missing:
        raise ValueError(f"no pronunciation for {len(missing)} words: {' '.join(missing[:10])}")
    entries = {text: list(said[text]) for text in plain_words()}
    for token in sorted(set(tokens), key=lambda token: token.written):
        if token.written in entries or not token.spoken or token.kind == "laughed" or token.spoken in COINAGES:
            continue
        whole = said.get(token.spoken)
        if whole is None:
            continue
        entries[token.written] = list(dict.fromkeys(_spoken_phones(token, phones) for phones in whole))
    return entries


def _spoken_phones(token: Token, phones: tuple[str, ...]) -> tuple[str, ...]:
    """Return the spoken part of the pronunciation of a partial word."""
    count = max(1, round(len(phones) * token.share))
    if token.kind == "beginning":
        return phones[:count]
    return phones[-count:] if token.kind == "ending" else phones
