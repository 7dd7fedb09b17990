"""Word error rates of a decode: the weights are chosen on the development set and applied to the evaluation set.

A scoring folder holds
    ref.trn hyp.trn ref.stm hyp.ctm glm   what was compared, in NIST's formats
    best_wer                              the result in Kaldi's form; best_wer_swbd and best_wer_callhome: of
                                          eval2000's halves; sclite: the same by NIST's scorer, when it is installed
    per_speaker                           a table
    alignments.jsonl                      every word of reference and hypothesis, aligned (alignments.py)
    wer_all                               the results of all weights that were tried (development set)
    wer.json                              all of it for programs
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
from asr_parallel.decode.reference import NOISES, Hypothesis, Reference, TimedWord
from asr_parallel.decode.sclite import find_tool, sclite_hub5, sclite_trn
from asr_parallel.record.files import write_json, write_lines, write_text
from asr_parallel.record.log import logger
from asr_parallel.record.progress import progress

SCORER = "asr-parallel"


@dataclass(frozen=True)
class Choice:
    """The weights that make the fewest errors on a set, and the counts of all that were tried."""

    best: Weighting
    tried: dict[Weighting, Counts]


def result_line(counts: Counts, label: str) -> str:
    """One result as Kaldi's compute-wer and best_wer.sh print it."""
    return (
        f"%WER {counts.wer:.2f} [ {counts.errors} / {counts.words}, {counts.ins} ins, {counts.dele} del, "
        f"{counts.sub} sub ] {label}"
    )


def by_weighting(
    decoded: Iterable[tuple[str, Mapping[Weighting, Sequence[TimedWord]]]],
) -> dict[Weighting, dict[str, Sequence[TimedWord]]]:
    """Turn (utterance, its words for every weighting) pairs into a hypothesis for every weighting."""
    hypotheses: dict[Weighting, dict[str, Sequence[TimedWord]]] = defaultdict(dict)
    for utterance, of_weighting in decoded:
        for weighting, words in of_weighting.items():
            hypotheses[weighting][utterance] = words
    return dict(hypotheses)


def choose(reference: Reference, hypotheses: Mapping[Weighting, Hypothesis]) -> Choice:
    """Score every weighting. Of equally good ones the middle is taken: it is the farthest from being worse."""
    tried = {
        weighting: total(s.counts for s in reference.score(hypotheses[weighting]))
        for weighting in progress(sorted(hypotheses), "scoring", unit="weightings")
    }
    fewest = min(counts.wer for counts in tried.values())
    equals = [weighting for weighting, counts in tried.items() if counts.wer == fewest]
    best = equals[len(equals) // 2]
    lmwts = sorted({lmwt for lmwt, _ in tried})
    if len(lmwts) > 2 and best[0] in (lmwts[0], lmwts[-1]):
        logger.warning("the best LM weight, %g, is the end of the range that was tried: widen --lmwt-range", best[0])
    return Choice(best, tried)


def write_scoring(
    folder: Path,
    label: str,
    reference: Reference,
    hypothesis: Hypothesis,
    weighting: Weighting,
    tried: Mapping[Weighting, Counts] | None = None,
) -> Counts:
    """Score one hypothesis and write the scoring folder.

    Args:
        label: what the result lines end with: the decode folder.
        tried: counts of all weightings, where they were chosen.

    Returns:
        The counts of the whole set.
    """
    scored = reference.align(hypothesis)
    missing = [u.id for u in reference.utterances if u.id not in hypothesis]
    if missing:
        logger.warning("%d utterances were not decoded (%s, ...): their words are deleted", len(missing), missing[0])
    _write_files(folder, reference, hypothesis)
    write_alignments(folder / ALIGNMENTS, scored)
    speakers = {
        speaker: total(s.counts for s in scored if s.speaker == speaker)
        for speaker in sorted({s.speaker for s in scored})
    }
    subsets = {
        subset: total(s.counts for s in scored if s.recording.startswith(prefix))
        for subset, prefix in SUBSETS.items()
        if reference.is_hub5 and any(s.recording.startswith(prefix) for s in scored)
    }
    whole = total(s.counts for s in scored)
    lmwt, wip = weighting
    name = f"{label}/wer_{lmwt:g}_{wip:g}"
    by_sclite = _by_sclite(folder, reference)
    if by_sclite:
        write_text(folder / "sclite", result_line(by_sclite, f"{name} sclite") + "\n")
    if by_sclite not in (None, whole):
        logger.warning("%s: sclite and %s do not count alike", label, SCORER)
    write_text(folder / "best_wer", result_line(whole, name) + "\n")
    for subset, counts in subsets.items():
        write_text(folder / f"best_wer_{subset}", result_line(counts, f"{name} {subset}") + "\n")
    if tried:
        write_lines(
            folder / "wer_all", (result_line(tried[w], f"{label}/wer_{w[0]:g}_{w[1]:g}") for w in sorted(tried))
        )
    write_lines(folder / "per_speaker", _table(speakers | {"all": whole}))
    write_json(
        folder / "wer.json",
        _record(whole)
        | {
            "lmwt": lmwt,
            "wip": wip,
            "scorer": SCORER,
            "rules": "hub5" if reference.is_hub5 else "plain",
            "sclite": _record(by_sclite) if by_sclite else None,
            "subsets": {subset: _record(counts) for subset, counts in subsets.items()},
            "per_speaker": {speaker: _record(counts) for speaker, counts in speakers.items()},
            # for confidence intervals and comparisons: errors and words of each utterance (or stm segment)
            "per_utterance": {s.name: [s.counts.errors, s.counts.words] for s in scored},
        },
    )
    return whole


def _write_files(folder: Path, reference: Reference, hypothesis: Hypothesis) -> None:
    speakers = {u.id: u.speaker for u in reference.utterances}
    recognised = {
        u.id: " ".join(w.word for w in hypothesis.get(u.id, ()) if w.word not in NOISES) for u in reference.utterances
    }
    write_trn(folder / "ref.trn", reference.texts, speakers)
    write_trn(folder / "hyp.trn", recognised, speakers)
    write_stm(folder / "ref.stm", reference.stm())
    write_ctm(folder / "hyp.ctm", reference.ctm(hypothesis))
    if reference.rules:
        shutil.copyfile(reference.rules, folder / "glm")


def _by_sclite(folder: Path, reference: Reference) -> Counts | None:
    """sclite's counts for the same files; None when it is not installed or refuses them."""
    if find_tool("sclite") is None:
        return None
    try:
        if reference.is_hub5:
            rules = folder / "glm" if reference.rules else None
            return sclite_hub5(folder / "ref.stm", folder / "hyp.ctm", rules)["Sum"]
        return sclite_trn(folder / "ref.trn", folder / "hyp.trn")["Sum"]
    except ValueError as error:
        logger.warning("%s", error)
        return None


def _record(counts: Counts) -> dict[str, Any]:
    return {
        "wer": round(counts.wer, 4),
        "errors": counts.errors,
        "words": counts.words,
        "ins": counts.ins,
        "del": counts.dele,
        "sub": counts.sub,
    }


def _table(rows: Mapping[str, Counts]) -> list[str]:
    width = max(len("speaker"), *(len(name) for name in rows))
    lines = [f"{'speaker':{width}}  words correct    sub    ins    del errors    WER"]
    for name, c in rows.items():
        counts = f"{c.words:6d} {c.correct:7d} {c.sub:6d} {c.ins:6d} {c.dele:6d} {c.errors:6d}"
        lines.append(f"{name:{width}} {counts} {c.wer:6.2f}")
    return lines
