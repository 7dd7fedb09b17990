"""Reference files of the synthetic evaluation set, in the layout of LDC2002S09 and LDC2002T43 (HUB5 2000, English).

The pem, stm and txt files are written from the same segments, so that their ids and times agree.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asr_parallel.corpus.synthetic.segmentation import Segment
from asr_parallel.corpus.synthetic.tokens import Token
from asr_parallel.record.files import write_lines

AUDIO = "LDC2002S09/hub5e_00/english"
REFERENCE = "LDC2002T43/reference"
IGNORE = "IGNORE_TIME_SEGMENT_IN_SCORING"
HESITATION, BACKCHANNEL = "(%HESITATION)", "%BCACK"

# words that the glm maps to the same word in reference and hypothesis (our own choice)
HESITATION_WORDS = ("UH", "UM", "ER", "EH", "AH")
BACKCHANNEL_WORDS = ("UH-HUH", "UM-HUM", "MM-HMM", "MHM")
SPELLINGS = {"ALRIGHT": "ALL RIGHT", "GONNA": "GOING TO", "WANNA": "WANT TO", "OK": "OKAY", "GREY": "GRAY"}
CONTRACTIONS = {  # only the unambiguous ones: "he's" may be "he is" or "he has"
    "I'M": "I AM",
    "I'VE": "I HAVE",
    "I'LL": "I WILL",
    "WE'RE": "WE ARE",
    "WE'VE": "WE HAVE",
    "THEY'RE": "THEY ARE",
    "THEY'VE": "THEY HAVE",
    "DON'T": "DO NOT",
    "DOESN'T": "DOES NOT",
    "DIDN'T": "DID NOT",
    "ISN'T": "IS NOT",
    "WASN'T": "WAS NOT",
    "AREN'T": "ARE NOT",
    "WON'T": "WILL NOT",
    "CAN'T": "CANNOT",
}
GLM_HEAD = (
    ';; Rules that make equal spellings equal, for the SYNTHETIC evaluation set\n* name "synthetic_hub5"\n'
    "* desc 'hesitations, backchannels, spellings, contractions'\n* format = 'NIST1'\n* max_nrules = '1000'\n"
    "* copy_no_hit = 'T'\n* case_sensitive = 'F'"
)
STM_HEAD = """\
;; Reference file for english , generated with the SYNTHETIC corpus
;;
;; CATEGORY "0" "" ""
;; LABEL "O" "Overall" "The Overall performance set"
;;
;; CATEGORY "1" "Corpus" "Corpus"
;; LABEL "EN" "Callhome" "Synthetic calls laid out as the Callhome English half"
;; LABEL "SW" "Switchboard" "Synthetic calls laid out as the Switchboard half"
;;
;; CATEGORY "2" "Sex" "Sex of speaker"
;; LABEL "F" "Female" "Female speakers"
;; LABEL "M" "Male" "Male speakers"
;;
;; CATEGORY "3" "Corpus/Sex" "Corpus and sex"
;; LABEL "EN-F" "Callhome Female" ""
;; LABEL "EN-M" "Callhome Male" ""
;; LABEL "SW-F" "Switchboard Female" ""
;; LABEL "SW-M" "Switchboard Male" \"\""""


@dataclass(frozen=True, slots=True)
class ReferenceSegment:
    """A segment of the reference; times in seconds with two decimals; side A1 or B1 is a second speaker of a side."""

    file: str
    side: str
    start: float
    end: float
    label: str
    reference: str
    transcript: str

    def stm(self) -> str:
        """Return the line of the stm."""
        name = f"{self.file}_{self.side}"
        return (
            f"{self.file} {self.side[0]} {name} {self.start:.2f} {self.end:.2f} {self.label}  {self.reference}".rstrip()
        )

    def pem(self) -> str:
        """Return the line of the pem."""
        return f"{self.file} {self.side[0]} unknown_speaker {self.start:.2f} {self.end:.2f}"

    def txt(self) -> str:
        """Return the line of the txt transcript."""
        return f"{self.start:.2f} {self.end:.2f} {self.side}: {self.transcript}"


def reference_segments(
    file: str, side: int, segments: Sequence[Segment], visitor: str | None, ignored: int | None
) -> list[ReferenceSegment]:
    """Return the segments of one side that are scored: all with words.

    Args:
        file: such as sw_4390 or en_4156.
        side: 0 or 1.
        segments: the segments of the side, in order.
        visitor: name of the side's second speaker, if it has one.
        ignored: index of the segment to mark as not scored, or None.
    """
    found: list[ReferenceSegment] = []
    for segment in segments:
        reference = " ".join(filter(None, (_reference(token) for token, _, _ in segment.tokens)))
        if not any(token.reference for token, _, _ in segment.tokens):
            continue
        corpus = file[:2]
        found.append(
            ReferenceSegment(
                file=file,
                side="AB"[side] + ("1" if visitor is not None and segment.speaker == visitor else ""),
                start=round(segment.start, 2),
                end=round(segment.end, 2),
                label=f"<O,{corpus},{segment.sex},{corpus}-{segment.sex}>",
                reference=IGNORE if len(found) == ignored else reference,
                transcript=" ".join(filter(None, (_transcript(token) for token, _, _ in segment.tokens))),
            )
        )
    return found


def _reference(token: Token) -> str:
    """Return a token as in the stm: upper case, optional words in parentheses, no sounds."""
    if token.kind == "mark":
        return token.written.upper()
    said = token.reference.upper()
    if said in HESITATION_WORDS:
        return HESITATION
    if said in BACKCHANNEL_WORDS:
        return BACKCHANNEL
    if token.kind in ("beginning", "ending"):
        return f"({said})"
    return CONTRACTIONS.get(said, said)


def _transcript(token: Token) -> str:
    """Return a token as in the txt."""
    sounds = {"laughter": "{laugh}", "vocalized": "{breath}", "noise": "[noise]"}
    if token.kind in sounds:
        return sounds[token.kind]
    if token.kind == "mark":
        return "<aside>" if token.written == "<b_aside>" else "</aside>"
    if token.reference.upper() in HESITATION_WORDS + BACKCHANNEL_WORDS:
        return f"%{token.reference}"
    if token.reference.upper() in CONTRACTIONS:
        first, _, rest = token.reference.partition("'")
        whole = CONTRACTIONS[token.reference.upper()].lower()
        return f'<contraction e_form="[{first}\'{rest}=>{whole}]">{token.reference}'
    return token.reference


def write_references(root: Path, segments: Sequence[ReferenceSegment], seconds: dict[str, float]) -> None:
    """Write pem, stm, glm and a txt for each file. `seconds` has the length of each file."""
    ordered = sorted(segments, key=lambda s: (s.file, s.side[0], s.start))
    write_lines(
        root / AUDIO / "hub5e_00.pem",
        [";; partition of the SYNTHETIC evaluation: file, channel, speaker, start, end", *(s.pem() for s in ordered)],
    )
    write_lines(root / REFERENCE / "hub5e00.english.000405.stm", [*STM_HEAD.splitlines(), *(s.stm() for s in ordered)])
    write_lines(root / REFERENCE / "en20000405_hub5.glm", glm_lines())
    for file, length in seconds.items():
        lines = ["#Language: eng", f"#File id: {file[3:]}", f"#Starting at 0 Ending at {length:.0f}", ""]
        lines += [f"# 0 {length:.0f} #BEGIN", ""]
        for segment in sorted((s for s in ordered if s.file == file), key=lambda s: (s.start, s.side)):
            lines += [segment.txt(), ""]
        write_lines(root / REFERENCE / "english" / f"{file}.txt", [*lines, f"# 0 {length:.0f} #END"])


def glm_lines() -> list[str]:
    """Return the lines of the glm."""
    rules = [(word, "%HESITATION") for word in HESITATION_WORDS]
    rules += [(word, "%BCACK") for word in BACKCHANNEL_WORDS]
    lines = [*GLM_HEAD.splitlines(), ";;", ";; hesitations, backchannels and spellings"]
    lines += [_rule(*rule) for rule in [*rules, *SPELLINGS.items()]]
    lines += [";;", ";; CONTRACTIONIZER", ";;"]
    return lines + [_rule(*rule) for rule in CONTRACTIONS.items()]


def _rule(one: str, other: str) -> str:
    return f"[{one}] => [{other}] / [ ] __ [ ] ;; {one.lower()}"
