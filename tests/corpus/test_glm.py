"""Global mapping rules."""

import pytest

from asr_parallel.corpus.glm import read_glm

RULES = """;; rules
* name = "test"
[UH-HUH] => [%BCACK] / [ ] __ [ ] ;; back channel
[UH HUH] => [%BCACK] / [ ] __ [ ]
[UH] => [%HESITATION] / [ ] __ [ ]
[COLOUR] => [COLOR]
[MM] => [] / [ ] __ [ ]
[DOCTOR] => [DR] / [ ] __ [ SMITH ]
;; CONTRACTIONIZER
;; INPUT_DEPENDENT_APPLICATION = "ctm"
[WE'RE] => [{WE'RE / WE ARE}] / [ ] __ [ ]
"""


@pytest.fixture
def glm(tmp_path):
    (tmp_path / "glm").write_text(RULES)
    return tmp_path / "glm"


@pytest.mark.parametrize(
    ("text", "mapped"),
    [
        ("i uh see", "I %HESITATION SEE"),
        ("uh", "%HESITATION"),
        ("uh huh uh-huh uh", "%BCACK %BCACK %HESITATION"),  # the first rule of the file that fits
        ("duh", "DUH"),  # the context is a space on both sides
        ("colourful", "COLORFUL"),  # without context it applies inside words
        ("mm yes", "YES"),
        ("(uh) yes (you know)", "(%HESITATION) YES (YOU) (KNOW)"),
        ("well-known th- -ing", "WELL KNOWN TH- -ING"),  # hyphens split, but mark fragments
        ("doctor smith doctor jones", "DR SMITH DOCTOR JONES"),
        ("we're", "WE'RE"),
    ],
)
def test_reference_rules(glm, text, mapped):
    assert read_glm(glm, ("stm", "ref")).apply(text) == mapped


def test_contractions_are_for_the_hypothesis_only(glm):
    assert read_glm(glm, ("ctm", "hyp")).apply("we're") == "{WE'RE / WE ARE}"


def test_letter_case_of_rules(tmp_path):
    (tmp_path / "glm").write_text(";;\n[uh] => [eh] / [ ] __ [ ]\n")
    assert read_glm(tmp_path / "glm", ("stm",)).apply("uh") == "UH"
    (tmp_path / "glm").write_text(";;\n* case_sensitive = 'F'\n[uh] => [eh] / [ ] __ [ ]\n")
    assert read_glm(tmp_path / "glm", ("stm",)).apply("uh") == "EH"


def test_a_line_that_is_no_rule_is_refused(tmp_path):
    (tmp_path / "glm").write_text(";; rules\nUH is a hesitation\n")
    with pytest.raises(ValueError, match="line 2: expected"):
        read_glm(tmp_path / "glm", ("stm",))
