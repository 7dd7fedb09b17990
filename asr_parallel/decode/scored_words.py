"""The words that count in scoring, and the form in which they are compared: one rule for reference and hypothesis.

Plain rules, as filter_text of Kaldi's egs/swbd/s5c/local/score_basic.sh: noises, `<unk>` and `%hesitation` are taken
out of both. Hub-5 rules, as its local/score_sclite.sh: hesitations and fragments, too, are taken out of the hypothesis;
in the reference, where NIST writes them in parentheses, they are optional. Letter case does not count, nor does
whether an accent is a character of its own (Unicode's form NFC).
"""

import unicodedata
from collections.abc import Iterable

from asr_parallel.corpus import transcripts
from asr_parallel.corpus.lexicon import OOV_WORD

UNSCORED = transcripts.NOISES | {transcripts.SILENCE, OOV_WORD, "%hesitation"}
# score_sclite.sh: "all the things that get mapped by the glm file into hesitations"
HESITATIONS = frozenset("uh um eh mm hm ah huh ha er oof hee ach eee ew".split())  # noqa: SIM905


def comparable(word: str) -> str:
    """Return the form in which words are compared."""
    return unicodedata.normalize("NFC", word.lower())


def is_scored(word: str, hub5: bool = False) -> bool:
    """Return True if a word counts by the plain or the Hub-5 rules."""
    word = comparable(word)
    return word not in UNSCORED and not (hub5 and (word in HESITATIONS or word.endswith("-")))


def scored_words(words: Iterable[str]) -> tuple[str, ...]:
    """Return the words that count by the plain rules, as they are compared."""
    return tuple(comparable(word) for word in words if is_scored(word))


def mark_unscored_optional(text: str) -> str:
    """Return a Hub-5 reference in comparable form; words that are removed from hypotheses become optional.

    Words that stand together share their parentheses, so that rules of several words (`[UH HUH]`) still find them.
    """
    tokens: list[str] = []
    depth, excused = 0, False
    if transcripts.STM_IGNORED in text.upper():
        return text
    for token in comparable(text).replace("{", " { ").replace("}", " } ").split():
        depth += token.count("(")
        unscored = depth == 0 and not is_scored(token, hub5=True)
        if unscored and excused:
            tokens[-1] = tokens[-1].removesuffix(")")
            tokens.append(f"{token})")
        else:
            tokens.append(f"({token})" if unscored else token)
        excused = unscored
        depth -= token.count(")")
    return " ".join(tokens)
