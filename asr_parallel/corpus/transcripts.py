"""Words of Switchboard's transcripts as the recogniser is to learn them.

Token kinds of the MS-State transcripts, and what becomes of them (as Kaldi's recipe s5c maps them):

    [silence] <b_aside> <e_aside>           nothing
    [laughter] [noise] [vocalized-noise]    kept: words with phones of their own
    [laughter-story]                        story        said laughing
    [it'n/isn't]                            it'n         what was said, not what was meant
    {yuppiedom}                             yuppiedom    coined
    them_1                                  them         pronounced in another way
    ab[solute]-  -[an]y  ammu[n]it          ab-  -y  ammu-it     the letters not said
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
    """Return one token of a transcript or dictionary as the word to learn, in lower case; empty when it is no word."""
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
    """Return a segment's tokens as words, separated by single spaces; empty when it holds none."""
    return " ".join(word for word in map(map_token, tokens.split()) if word)


def repair_stm_text(text: str) -> str:
    """Repair what upsets NIST's scorer in the released reference: doubled parentheses and marks of asides."""
    return " ".join(re.sub(r"<[BE]_ASIDE>", "", text.replace("((", "("), flags=re.IGNORECASE).split())


def check_alternatives(text: str, nested: bool = True) -> None:
    """Check the braces of a line of an STM, `{ we're / we are }`.

    Args:
        nested: alternatives may hold alternatives, as NIST's format has it.

    Raises:
        ValueError: a brace without its other, or alternatives inside alternatives.
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
    """Return a line of an STM as plain words in lower case: the first of alternatives, optional words kept."""
    while (chosen := STM_CHOICE.sub(r"\1", text)) != text:  # the innermost first
        text = chosen
    return " ".join(text.replace("(", " ").replace(")", " ").lower().split())
