"""Word error rates: LM weight and insertion penalty are chosen on a development set and used on evaluation sets.

A scoring folder holds
    ref.trn hyp.trn ref.stm hyp.ctm glm   what was compared, in NIST's formats
    best_wer                              the result in Kaldi's form; best_wer_swbd and best_wer_callhome: of
                                          eval2000's halves; sclite: the same by NIST's scorer, when it is installed
    per_speaker                           a table
    alignments.jsonl                      every word of reference and hypothesis, aligned (alignments.py)
    wer_all                               the results of all weights that were tried (development set)
    wer.json                              all of it, machine-readable
and, with characters as units, also: best_cer, per_speaker_cer, alignments_cer.jsonl, cer_all
in place of wer_all, cer.json, sclite_cer, and the characters in ref_cer.trn and hyp_cer.trn.
"""

import shutil
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr_parallel.corpus.nist_files import write_ctm, write_stm, write_trn
from asr_parallel.decode.alignments import ALIGNMENTS, write_alignments
from asr_parallel.decode.edit_distance import Counts, total
from asr_parallel.decode.hub5 import SUBSETS
from asr_parallel.decode.hypotheses import Weighting
from asr_parallel.decode.reference import Hypothesis, Reference, TimedWord
from asr_parallel.decode.sclite import find_tool, sclite_hub5, sclite_trn
from asr_parallel.decode.scored_words import scored_words
from asr_parallel.decode.word_network import split_characters
from asr_parallel.record.files import write_json, write_lines, write_text
from asr_parallel.record.log import logger
from asr_parallel.record.progress_bar import progress

SCORER = "asr-parallel"
RATES = {"word": "wer", "char": "cer"}  # units -> their error rate, as Kaldi's scoring_kaldi/best_{wer,cer} name it


@dataclass(frozen=True)
class Choice:
    """The weights that make the fewest errors on a set, and the counts of all that were tried."""

    best: Weighting
    tried: dict[Weighting, Counts]


def result_line(counts: Counts, label: str, units: str = "word") -> str:
    """Return one result as Kaldi's compute-wer and best_wer.sh print it."""
    found = f"{counts.errors} / {counts.words}, {counts.ins} ins, {counts.dele} del, {counts.sub} sub"
    return f"%{RATES[units].upper()} {counts.wer:.2f} [ {found} ] {label}"


def by_weighting(
    decoded: Iterable[tuple[str, Mapping[Weighting, Sequence[TimedWord]]]],
) -> dict[Weighting, dict[str, Sequence[TimedWord]]]:
    """Turn (utterance, its words for every weighting) pairs into a hypothesis for every weighting."""
    hypotheses: dict[Weighting, dict[str, Sequence[TimedWord]]] = defaultdict(dict)
    for utterance, of_weighting in decoded:
        for weighting, words in of_weighting.items():
            hypotheses[weighting][utterance] = words
    return dict(hypotheses)


def choose(reference: Reference, hypotheses: Mapping[Weighting, Hypothesis], units: str = "word") -> Choice:
    """Score every weighting. The middle one of equally good weightings is chosen.

    Raises:
        ValueError: no word of the reference counts.
    """
    tried = {
        weighting: total(s.counts for s in reference.score(hypotheses[weighting], units))
        for weighting in progress(sorted(hypotheses), "scoring", unit="weightings")
    }
    _check_words(reference, next(iter(tried.values())))
    fewest = min(counts.wer for counts in tried.values())
    equals = [weighting for weighting, counts in tried.items() if counts.wer == fewest]
    best = equals[len(equals) // 2]
    lmwts = sorted({lmwt for lmwt, _ in tried})
    if len(lmwts) > 2 and best[0] in (lmwts[0], lmwts[-1]):
        logger.warning(
            "the best LM weight, %g, is the end of the range that was tried: widen it with --lmwt-range FIRST:LAST",
            best[0],
        )
    return Choice(best, tried)


def write_scoring(
    folder: Path,
    label: str,
    reference: Reference,
    hypothesis: Hypothesis,
    weighting: Weighting,
    tried: Mapping[Weighting, Counts] | None = None,
    units: str = "word",
) -> Counts:
    """Score one hypothesis and write the scoring folder.

    Args:
        label: the end of the result lines: the decode folder.
        tried: counts of all weightings, where they were chosen.
        units: units by which the weighting was chosen; words are always counted too.

    Returns:
        The counts of the whole set, in these units.

    Raises:
        ValueError: no word of the reference counts.
    """
    missing = [u.id for u in reference.utterances if u.id not in hypothesis]
    if missing:
        logger.warning("%d utterances were not decoded (%s, ...): their words are deleted", len(missing), missing[0])
    write_stm(folder / "ref.stm", reference.stm())
    write_ctm(folder / "hyp.ctm", reference.ctm(hypothesis))
    if reference.rules:
        shutil.copyfile(reference.rules, folder / "glm")
    whole = Counts()
    for counted in dict.fromkeys(("word", units)):
        of_units = tried if counted == units else None
        whole = _write_rate(folder, label, reference, hypothesis, weighting, of_units, counted)
    return whole


def _write_rate(
    folder: Path,
    label: str,
    reference: Reference,
    hypothesis: Hypothesis,
    weighting: Weighting,
    tried: Mapping[Weighting, Counts] | None,
    units: str,
) -> Counts:
    """Write the files of one kind of units."""
    rate = RATES[units]
    suffix = "" if units == "word" else f"_{rate}"
    scored = reference.align(hypothesis, units)
    whole = total(s.counts for s in scored)
    _check_words(reference, whole)
    _write_trn(folder, suffix, reference, hypothesis, units)
    write_alignments(folder / ALIGNMENTS.replace(".", f"{suffix}."), scored)
    speakers = {
        speaker: total(s.counts for s in scored if s.speaker == speaker)
        for speaker in sorted({s.speaker for s in scored})
    }
    subsets = {
        subset: total(s.counts for s in scored if s.recording.startswith(prefix))
        for subset, prefix in SUBSETS.items()
        if reference.is_hub5 and any(s.recording.startswith(prefix) for s in scored)
    }
    lmwt, wip = weighting
    name = f"{label}/{rate}_{lmwt:g}_{wip:g}"
    by_sclite = _by_sclite(folder, suffix, reference)
    if by_sclite:
        write_text(folder / f"sclite{suffix}", result_line(by_sclite, f"{name} sclite", units) + "\n")
    if by_sclite not in (None, whole):
        logger.warning("%s: sclite and %s do not count alike", label, SCORER)
    write_text(folder / f"best_{rate}", result_line(whole, name, units) + "\n")
    for subset, counts in subsets.items():
        write_text(folder / f"best_{rate}_{subset}", result_line(counts, f"{name} {subset}", units) + "\n")
    if tried:
        lines = (result_line(tried[w], f"{label}/{rate}_{w[0]:g}_{w[1]:g}", units) for w in sorted(tried))
        write_lines(folder / f"{rate}_all", lines)
    write_lines(folder / f"per_speaker{suffix}", _table(speakers | {"all": whole}, units))
    write_json(
        folder / f"{rate}.json",
        _record(whole, units)
        | {
            "lmwt": lmwt,
            "wip": wip,
            "scorer": SCORER,
            "rules": "hub5" if reference.is_hub5 else "plain",
            "sclite": _record(by_sclite, units) if by_sclite else None,
            "subsets": {subset: _record(counts, units) for subset, counts in subsets.items()},
            "per_speaker": {speaker: _record(counts, units) for speaker, counts in speakers.items()},
            # for confidence intervals and comparisons: errors and words of each utterance (or stm segment)
            "per_utterance": {s.name: [s.counts.errors, s.counts.words] for s in scored},
        },
    )
    return whole


def _check_words(reference: Reference, counts: Counts) -> None:
    if not counts.words:
        raise ValueError(
            f"{reference.source}: no word counts, so that there is no error rate ({counts.ins} insertions); expected "
            "transcripts with words that are no noises"
        )


def _write_trn(folder: Path, suffix: str, reference: Reference, hypothesis: Hypothesis, units: str) -> None:
    """Write reference and hypothesis for sclite, with characters as words where they are the units."""
    speakers = {u.id: u.speaker for u in reference.utterances}
    references = {i: text.split() for i, text in reference.texts.items()}
    recognised = {i: scored_words(w.word for w in hypothesis.get(i, ())) for i in references}
    for name, side in (("ref", references), ("hyp", recognised)):
        texts = {
            i: " ".join(words if units == "word" else (c for word in words for c in split_characters(word)))
            for i, words in side.items()
        }
        write_trn(folder / f"{name}{suffix}.trn", texts, speakers)


def _by_sclite(folder: Path, suffix: str, reference: Reference) -> Counts | None:
    """Return sclite's counts for the same files; None when it is not installed, has no such rules, or refuses them."""
    if find_tool("sclite") is None or (suffix and reference.is_hub5):
        return None
    try:
        if reference.is_hub5:
            rules = folder / "glm" if reference.rules else None
            return sclite_hub5(folder / "ref.stm", folder / "hyp.ctm", rules)["Sum"]
        return sclite_trn(folder / f"ref{suffix}.trn", folder / f"hyp{suffix}.trn")["Sum"]
    except ValueError as error:
        logger.warning("%s", error)
        return None


def _record(counts: Counts, units: str) -> dict[str, Any]:
    return {
        RATES[units]: round(counts.wer, 4) if counts.words else None,  # JSON has no infinity
        "errors": counts.errors,
        "words" if units == "word" else "characters": counts.words,
        "ins": counts.ins,
        "del": counts.dele,
        "sub": counts.sub,
    }


def _table(rows: Mapping[str, Counts], units: str) -> list[str]:
    width = max(len("speaker"), *(len(name) for name in rows))
    lines = [f"{'speaker':{width}}  {units + 's'} correct    sub    ins    del errors    {RATES[units].upper()}"]
    for name, c in rows.items():
        counts = f"{c.words:6d} {c.correct:7d} {c.sub:6d} {c.ins:6d} {c.dele:6d} {c.errors:6d}"
        lines.append(f"{name:{width}} {counts} " + (f"{c.wer:6.2f}" if c.words else f"{'-':>6}"))
    return lines
