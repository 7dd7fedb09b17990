"""Every kind of token of the transcripts, and the words of an STM."""

import pytest

from asr_parallel.corpus.transcripts import map_token, normalise, plain_stm_text, repair_stm_text


@pytest.mark.parametrize(
    ("token", "word"),
    [
        ("[laughter-story]", "story"),
        ("[laughter-ab[solute]-]", "ab-"),
        ("ab[solute]-", "ab-"),
        ("-[an]y", "-y"),
        ("ammu[n]it", "ammu-it"),
        ("[it'n/isn't]", "it'n"),
        ("[wh/what]-", "wh-"),
        ("{yuppiedom}", "yuppiedom"),
        ("them_1", "them"),
        ("[laughter-them_1]", "them"),
        ("uh-huh", "uh-huh"),
        ("I'd", "i'd"),
        ("[laughter]", "[laughter]"),
        ("[noise]", "[noise]"),
        ("[vocalized-noise]", "[vocalized-noise]"),
        ("[silence]", ""),
        ("<b_aside>", ""),
        ("<E_ASIDE>", ""),
    ],
)
def test_every_kind_of_token(token: str, word: str) -> None:
    assert map_token(token) == word


def test_a_segment() -> None:
    assert normalise("hi [silence] <b_aside> um <e_aside>  [noise]") == "hi um [noise]"
    assert normalise("[silence]") == ""


def test_stm_text() -> None:
    assert repair_stm_text("((%HESITATION) OH <B_ASIDE> NOT NOW <E_ASIDE>") == "(%HESITATION) OH NOT NOW"
    assert plain_stm_text("(%HESITATION) {IT'S / IT IS} (GO-) GOING") == "%hesitation it's go- going"
    assert plain_stm_text("{ A { B / C } / D } E") == "a b e"
