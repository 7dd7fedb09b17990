"""NIST's global mapping rules (glm), which give reference and hypothesis the same spelling of the same word.

    [X] => [Y] / [left] __ [right] ;; comment       X becomes Y between left and right; the context is optional
    ;; INPUT_DEPENDENT_APPLICATION = "ctm"          restricts the following rules to kinds of input that match
    * case_sensitive = 'F'                          X and the context match in any letter case

Y may have alternatives, `{we're / we are}`, as in the section of contractions. Rules match characters of the text in
upper case, with a space on both sides of each word. At each position the first matching rule of the file is applied;
its output is not matched again. This is the behaviour of sctk's csrfilt.sh -dh and rfilter1.
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
    """A rule: source becomes target between left and right; all are literal text in upper case."""

    source: str
    target: str
    left: str = ""
    right: str = ""


@dataclass(frozen=True)
class MappingRules:
    """The rules for one kind of input, grouped by the first character of their source, in the order of the file."""

    by_first: dict[str, list[Rule]] = field(default_factory=dict)

    def apply(self, text: str) -> str:
        """Map a transcript: upper case, apply the rules, split hyphenated words, write `(a b)` as `(a) (b)`."""
        text = _upper(text).replace("(", "( ").replace(")", " )")
        text = self._replace(f" {' '.join(text.split())} ")
        text = re.sub(r"([^( ])-(?=[^) ])", r"\1 ", text)  # a hyphen at the end of a word marks a fragment and is kept
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
        ValueError: a line that is not a rule, or one with unbalanced or nested braces.
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
    """Check the rules for both reference and hypothesis; ValueError as for read_glm."""
    for kinds in GLM_KINDS:
        read_glm(path, kinds)


def _upper(text: str) -> str:
    """Return text in upper case, except letters such as ß and ı whose upper case does not map back to them."""
    return "".join(u if (u := c.upper()).lower() == c.lower() else c for c in text)


def _unwrap(text: str) -> str:
    """Return the text without the brackets or quotes around it."""
    text = text.strip()
    return text[1:-1] if len(text) > 1 and text[0] + text[-1] in ("[]", '""') else text
