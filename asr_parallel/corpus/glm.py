"""NIST's global mapping rules (glm): spellings that count as the same word, written alike in reference and hypothesis.

    [X] => [Y] / [left] __ [right] ;; comment       X becomes Y between left and right; the context may be left out
    ;; INPUT_DEPENDENT_APPLICATION = "ctm"          what follows is only for inputs whose kind matches the expression
    * case_sensitive = 'F'                          letter case of X and of the context does not count

Y may hold alternatives, `{we're / we are}`; that is what the section of contractions does. Rules apply to characters,
in upper case, words with a space on both sides; at each place the first rule of the file that fits is used, and its
output is not read again. This is the behaviour of sctk's csrfilt.sh -dh and rfilter1.
"""

import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from asr_parallel.corpus.transcripts import check_alternatives
from asr_parallel.record.files import read_lines

CONTEXT = re.compile(r"""/\s*(?P<left>\[[^]]*\]|"[^"]*")?\s*__+\s*(?P<right>\[[^]]*\]|"[^"]*")?\s*$""")
CONDITION = re.compile(r';;\s+INPUT_DEPENDENT_APPLICATION\s*=\s*"([^"]*)"')
GLM_KINDS = ("stm", "ref"), ("ctm", "hyp")  # of a reference and of a hypothesis
CASE_SENSITIVE = re.compile(r"\*\s*case_sensitive\s*=\s*['\"](.)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Rule:
    """source becomes target between left and right; all literal upper-case text."""

    source: str
    target: str
    left: str = ""
    right: str = ""


@dataclass(frozen=True)
class MappingRules:
    """The rules of one kind of input, by the first character of their source, in the order of the file."""

    by_first: dict[str, list[Rule]] = field(default_factory=dict)

    def apply(self, text: str) -> str:
        """Map a transcript: upper case, rules, hyphenated words split, `(a b)` as `(a) (b)`."""
        text = _upper(text).replace("(", "( ").replace(")", " )")
        text = self._replace(f" {' '.join(text.split())} ")
        text = re.sub(r"([^( ])-(?=[^) ])", r"\1 ", text)  # a hyphen at a word's end marks a fragment and stays
        text = " ".join(text.split())
        while (split := re.sub(r"(\( [^() ]+ )([^() ]+)", r"\1) ( \2", text)) != text:
            text = split
        return text.replace("( ", "(").replace(" )", ")")

    def _replace(self, text: str) -> str:
        output = []
        at = 0
        while at < len(text):
            for rule in self.by_first.get(text[at], ()):
                end = at + len(rule.source)
                if (
                    text.startswith(rule.source, at)
                    and text.endswith(rule.left, 0, at)
                    and text.startswith(rule.right, end)
                ):
                    output.append(rule.target)
                    at = end
                    break
            else:
                output.append(text[at])
                at += 1
        return "".join(output)


def read_glm(path: Path, kinds: tuple[str, ...]) -> MappingRules:
    """Read the rules that apply to an input of these kinds: ("stm", "ref") or ("ctm", "hyp").

    Raises:
        ValueError: a line that is no rule, or one with braces that do not match or are inside others.
    """
    by_first: dict[str, list[Rule]] = defaultdict(list)
    applies = True
    any_case = False
    for n, line in enumerate(read_lines(path), 1):
        if condition := CONDITION.match(line):
            applies = any(re.search(condition[1].lower(), kind) for kind in kinds)
        data = line.partition(";;")[0].strip()
        if not applies or not data:
            continue
        if data.startswith("*"):
            if setting := CASE_SENSITIVE.match(data):
                any_case = setting[1].upper() == "F"
            continue
        source, arrow, target = data.partition("=>")
        if not arrow or not _unwrap(source):
            raise ValueError(f"{path}: line {n}: expected '[X] => [Y] / [ ] __ [ ]', got {data!r}")
        context = CONTEXT.search(target)
        left, right = (_unwrap(context[side] or "") if context else "" for side in ("left", "right"))
        target = _unwrap(target[: context.start()] if context else target)
        try:
            check_alternatives(target, nested=False)
        except ValueError as error:
            raise ValueError(f"{path}: line {n}: {error}") from None
        source = _unwrap(source)
        rule = Rule(*(_upper(part) if any_case else part for part in (source, target, left, right)))
        by_first[rule.source[0]].append(rule)
    return MappingRules(dict(by_first))


def check_glm(path: Path) -> None:
    """Read the rules for both reference and hypothesis; ValueError as in read_glm."""
    for kinds in GLM_KINDS:
        read_glm(path, kinds)


def _upper(text: str) -> str:
    """Return the word in upper case, except letters such as ß and ı that lower case does not restore."""
    return "".join(u if (u := c.upper()).lower() == c.lower() else c for c in text)


def _unwrap(text: str) -> str:
    """Return the text without the brackets or quotes around it."""
    text = text.strip()
    return text[1:-1] if len(text) > 1 and text[0] + text[-1] in ("[]", '""') else text
