"""Text normalisation of Switchboard's transcripts.

Kinds of tokens in the MS-State transcripts and the words they are mapped to, as in Kaldi's recipe s5c:

    [silence] <b_aside> <e_aside>           nothing
    [laughter] [noise] [vocalized-noise]    kept, as words with phones of their own
    [laughter-story]                        story        said while laughing
    [it'n/isn't]                            it'n         the word as said
    {yuppiedom}                             yuppiedom    coined word
    them_1                                  them         pronunciation variant
    ab[solute]-  -[an]y  ammu[n]it          ab-  -y  ammu-it     letters not said
"""

import re

SILENCE = "[silence]"
NOISES = frozenset({"[laughter]", "[noise]", "[vocalized-noise]"})
DELETED = frozenset({SILENCE, "<b_aside>", "<e_aside>"})

LAUGHED = re.compile(r"^(-?)\[laughter-(.+)\](-?)$")
MISPRONOUNCED = re.compile(r"^(-?)\[(.+?)/.+\](-?)$")
COINED = re.compile(r"^(-?)\{(.+)\}(-?)$")
VARIANT = re.compile(r"_\d+(?=-?$)")
UNSAID = re.compile(r"-?\[[^\[\]]*\]-?")

STM_IGNORED = "IGNORE_TIME_SEGMENT_IN_SCORING"
STM_CHOICE = re.compile(r"\{([^{}/]*)/[^{}]*\}")


def map_token(token: str) -> str:
    """Map a token of a transcript or dictionary to a word in lower case; "" if it is not a word."""
    word = token.lower()
    if word in DELETED:
        return ""
    if word in NOISES:
        return word
    for wrapped in (LAUGHED, COINED, MISPRONOUNCED):
        word = wrapped.sub(r"\1\2\3", word)
    word = VARIANT.sub("", word)
    word = UNSAID.sub("-", word)
    return "" if word == "-" else word


def normalise(tokens: str) -> str:
    """Map the tokens of a segment to words, separated by single spaces; "" if there are none."""
    return " ".join(word for word in map(map_token, tokens.split()) if word)


def repair_stm_text(text: str) -> str:
    """Remove what NIST's scorer cannot read in the released reference: doubled parentheses and marks of asides."""
    return " ".join(re.sub(r"<[BE]_ASIDE>", "", text.replace("((", "("), flags=re.IGNORECASE).split())


def check_alternatives(text: str, nested: bool = True) -> None:
    """Check the braces of a line of an STM, `{ we're / we are }`.

    Args:
        nested: allow alternatives inside alternatives, as NIST's format does.

    Raises:
        ValueError: unbalanced braces, or alternatives inside alternatives.
    """
    depth, deepest = 0, 0
    for brace in re.findall(r"[{}]", text):
        depth += 1 if brace == "{" else -1
        deepest = max(deepest, depth)
        if depth < 0:
            break
    problem = "a { without its }" if depth > 0 else "a } without its {" if depth < 0 else ""
    if not problem and deepest > 1 and not nested:
        problem = "alternatives inside alternatives"
    if problem:
        raise ValueError(f"{problem} in {text!r}; expected alternatives as '{{ one / another }}'")


def plain_stm_text(text: str) -> str:
    """Return a line of an STM as plain words in lower case, with the first of alternatives and all optional words."""
    while (chosen := STM_CHOICE.sub(r"\1", text)) != text:  # the innermost first
        text = chosen
    return " ".join(text.replace("(", " ").replace(")", " ").lower().split())
