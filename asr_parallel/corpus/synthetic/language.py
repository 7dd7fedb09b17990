"""Sentences of small talk, drawn from a grammar with topics and agreement.

Training and evaluation share the grammar, so that an n-gram model of one fits the other, but no sentences: a hash of
its words assigns each sentence to one of the two, whatever the seed.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from operator import itemgetter
from pathlib import Path
from typing import Literal

import numpy as np

Split = Literal["train", "eval"]

GRAMMAR = Path(__file__).with_name("grammar.txt")
FORMS = {"base": 0, "s": 1, "past": 2, "ing": 3, "done": 4, "sg": 0, "pl": 1}  # places in one/another/...
EVAL_SHARE = 0.15  # share of all possible sentences for the evaluation: enough to avoid repetition
FREE_WORDS = 4  # sentences of at most so many words may occur in both splits: "oh really", "that's true"
MAX_SENTENCE_WORDS = 22  # longer ones are redrawn: small talk does not have them

Rules = Mapping[str, tuple[tuple[float, str], ...]]


@dataclass(frozen=True)
class Grammar:
    """The rules of each topic, with the general ones; a rule is a tuple of (cumulative probability, text)."""

    topics: Mapping[str, Rules]

    def sentence(self, topic: str, rng: np.random.Generator) -> list[str]:
        """Return one sentence as lower-case words."""
        text = _expand(self.topics[topic], "sentence", None, rng).split()
        return [
            "an" if word == "a" and following[0] in "aeiou" else word
            for word, following in zip(text, [*text[1:], "."], strict=True)
        ]

    def words(self) -> set[str]:
        """Return every word that the grammar can generate."""
        found = {"an"}
        for rules in self.topics.values():
            for alternatives in rules.values():
                for _, text in alternatives:
                    for item in text.split():
                        found.update(() if item.startswith("$") else item.split("/"))
        return found


def _expand(rules: Rules, name: str, form: int | None, rng: np.random.Generator) -> str:
    if name not in rules:
        raise ValueError(f"grammar: ${name} has no rule")
    alternatives = rules[name]
    at = bisect_right(alternatives, rng.random(), hi=len(alternatives) - 1, key=itemgetter(0))
    words = []
    for item in alternatives[at][1].split():
        if item.startswith("$"):
            symbol, _, form_name = item[1:].partition(":")
            words.append(_expand(rules, symbol, FORMS[form_name] if form_name else None, rng))
        elif "/" in item:
            words.append(item.split("/")[form or 0])
        else:
            words.append(item)
    return " ".join(words)


def parse_grammar(text: str) -> Grammar:
    """Parse the notation explained at the top of grammar.txt.

    Raises:
        ValueError: a line that is not a rule, or no [general] section.
    """
    sections: dict[str, dict[str, str]] = {}
    section = name = ""
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith("["):
            section, name = line.strip("[] \n"), ""
            sections[section] = {}
        elif line[0].isspace() and name:
            sections[section][name] += " " + line.strip()
        elif "=" in line and section:
            name, _, body = (part.strip() for part in line.partition("="))
            sections[section][name] = body
        else:
            raise ValueError(f"grammar line {number}: expected [topic] or 'name = alternative | ...', got {line!r}")
    if "general" not in sections:
        raise ValueError("grammar: no [general] section")
    general = sections.pop("general")
    return Grammar(
        {
            topic: {rule: _alternatives(body) for rule, body in {**general, **own}.items()}
            for topic, own in sections.items()
        }
    )


def _alternatives(body: str) -> tuple[tuple[float, str], ...]:
    weighted = []
    for part in body.split("|"):
        weight, star, text = part.strip().partition("*")
        weighted.append((float(weight), text.strip()) if star else (1.0, part.strip()))
    shares = np.cumsum([weight for weight, _ in weighted]) / sum(weight for weight, _ in weighted)
    return tuple((float(share), text) for share, (_, text) in zip(shares, weighted, strict=True))


@cache
def grammar() -> Grammar:
    """Return the grammar that comes with the package."""
    return parse_grammar(GRAMMAR.read_text(encoding="utf-8"))


def split_of(words: list[str]) -> Split | None:
    """Return the split of a sentence; None if it is short enough to occur in both."""
    if len(words) <= FREE_WORDS:
        return None
    number = int.from_bytes(hashlib.sha256(" ".join(words).encode()).digest()[:4], "big")
    return "eval" if number < EVAL_SHARE * 2**32 else "train"


def draw_sentence(topic: str, split: Split, rng: np.random.Generator) -> list[str]:
    """Draw a sentence on a topic that may occur in this split."""
    while True:
        words = grammar().sentence(topic, rng)
        if len(words) <= MAX_SENTENCE_WORDS and split_of(words) in (None, split):
            return words
