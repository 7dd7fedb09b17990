"""A transcript as a small network of words: a chain, widened where a transcript allows alternatives.

    it's { we're / we are } (uh) ab-     alternatives in braces, @ for none; (optional) words; fragments with a hyphen

Alternatives may hold alternatives. This is the notation of NIST's sclite; edit_distance.py has its meaning in scoring.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

NOTHING = "@"
UNITS = ("word", "char")
WHOLE = re.compile(r"\[.*\]|<.*>|!SIL", re.IGNORECASE)


@dataclass
class WordNetwork:
    """Arcs in topological order; arc 0 is the start and carries no word.

    words: word of each arc in lower case ("" for arc 0). optional: whether it may be missing without error.
    fragment: whether it matches every word that begins or ends like it.
    before: for each arc the arcs that may come directly before it. last: arcs that may end the transcript.
    """

    words: list[str] = field(default_factory=lambda: [""])
    optional: list[bool] = field(default_factory=lambda: [False])
    fragment: list[bool] = field(default_factory=lambda: [False])
    before: list[list[int]] = field(default_factory=lambda: [[]])
    last: list[int] = field(default_factory=lambda: [0])

    def append(self, word: str, literal: bool = False) -> None:
        """Append a word to all ends of the network; in a `literal` word ( ) and - have no special meaning."""
        word = word.lower()
        optional = not literal and len(word) > 1 and word[0] == "(" and word[-1] == ")"
        word = word[1:-1] if optional else word
        # sclite ignores the hyphen at the beginning of an optional word
        fragment = not literal and (word.endswith("-") or (word.startswith("-") and not optional))
        self.words.append(word)
        self.optional.append(optional)
        self.fragment.append(fragment)
        self.before.append(self.last)
        self.last = [len(self.words) - 1]


def literal_transcript(words: Iterable[str]) -> WordNetwork:
    """Return a chain of literal words."""
    network = WordNetwork()
    for word in words:
        network.append(word, literal=True)
    return network


def parse_transcript(text: str) -> WordNetwork:
    """Parse a transcript in sclite's notation; letter case does not count.

    Raises:
        ValueError: braces that do not match.
    """
    network = WordNetwork()
    tokens = iter(text.replace("{", " { ").replace("}", " } ").split())
    while end := _parse_words(network, tokens, text):
        if end == "}":
            raise ValueError(f"unmatched }} in the transcript {text!r}")
        network.append(end)  # a slash outside of braces is a word
    return network


def split_characters(word: str) -> list[str]:
    """Return the characters of a word: Unicode code points, as in Kaldi's steps/scoring/score_kaldi_cer.sh.

    `<...>`, `[...]` and `!SIL` stay whole, as there.
    """
    return [word] if word == NOTHING or WHOLE.search(word) else list(word)


def in_units(network: WordNetwork, units: str) -> WordNetwork:
    """Return the network itself for units of "word"; for "char" one whose arcs are the characters of its words.

    Spaces are no characters. An optional word is present with all its characters or not at all, and counts
    only when present; fragments are literal.
    """
    if units == "word":
        return network
    result = WordNetwork()
    ends = [[0]]  # of each arc of `network`, the arcs that what comes next may follow

    def after(arcs: list[int]) -> list[int]:
        return sorted({end for arc in arcs for end in ends[arc]})

    for i, word in enumerate(network.words[1:], 1):
        start = before = after(network.before[i])
        for character in split_characters(word) or [word]:
            result.words.append(character)
            result.optional.append(False)
            result.fragment.append(False)
            result.before.append(before)
            before = [len(result.words) - 1]
        ends.append(start + before if network.optional[i] else before)
    result.last = after(network.last)
    return result


def add_alternatives(network: WordNetwork, alternatives: Iterable[list[str]]) -> None:
    """Continue the network by one of several word sequences, none of them empty."""
    start: list[int] = network.last
    ends: list[int] = []
    for words in alternatives:
        network.last = start
        for word in words:
            network.append(word)
        ends += network.last
    network.last = ends or start


def _parse_words(network: WordNetwork, tokens: Iterator[str], text: str) -> str:
    """Append words up to a slash or a closing brace, and return that; "" at the end of the transcript."""
    for token in tokens:
        if token in ("/", "}"):
            return token
        if token == "{":
            _parse_alternatives(network, tokens, text)
        else:
            network.append(token)
    return ""


def _parse_alternatives(network: WordNetwork, tokens: Iterator[str], text: str) -> None:
    """Append the alternatives between braces; alternatives without a word are none (sclite's @ is a word)."""
    start: list[int] = network.last
    ends: list[int] = []
    end = "/"
    while end == "/":
        network.last = start
        end = _parse_words(network, tokens, text)
        if network.last is not start:
            ends += network.last
    if not end:
        raise ValueError(f"unmatched {{ in the transcript {text!r}")
    network.last = ends or start
