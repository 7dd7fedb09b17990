"""Words and phones of a path with their times."""

from types import SimpleNamespace

import numpy as np
import pytest
from praatio import textgrid
from toy_hmm import LANG, SIL, SPN, A, B, C, mono_model

from asr_parallel.corpus.datadir import Utterance
from asr_parallel.corpus.nist_files import read_ctm
from asr_parallel.hmm.alignment import AlignmentSet
from asr_parallel.hmm.ctm import write_times
from asr_parallel.hmm.word_times import WordTimes

AB, CA, UNK = 1, 2, 3


def path(*phones, frames_per_state=2):
    """Transition ids of the phones, each state held equally long; silence by its shortest way."""
    _, transitions = mono_model()
    tids = []
    for phone in phones:
        states = [0, 1, 4] if phone in (SIL, SPN) else [0, 1, 2]
        for state, after in zip(states, [*states[1:], transitions.topology.num_states(phone)], strict=True):
            ids = list(
                transitions.tids(
                    transitions.transition_state(phone, state, 5 * (phone - 1) + state)
                    if phone < A
                    else transitions.transition_state(phone, state, 10 + 3 * (phone - A) + state)
                )
            )
            leave = next(t for t in ids if transitions.next_hmm_state_of[t] == after)
            stay = next(t for t in ids if transitions.is_self_loop[t])
            tids += [leave] + [stay] * (frames_per_state - 1)
    return np.array(tids, dtype=np.int32)


@pytest.fixture(scope="module")
def finder():
    return WordTimes(LANG, mono_model()[1])


def test_phones(finder):
    assert finder.phones(path(SIL, A, A, B)) == [(SIL, 0, 6), (A, 6, 6), (A, 12, 6), (B, 18, 6)]
    assert finder.phones(path()) == []


def test_words_between_silences(finder):
    tids = path(SIL, A, B, SIL, C, A)
    assert finder.words(tids, [AB, CA]) == [(AB, 6, 12), (CA, 24, 12)]
    assert finder.words(path(A, C, A, A, B, SIL), [AB, CA, AB]) == [(AB, 0, 6), (CA, 6, 12), (AB, 18, 12)]
    assert finder.words(path(SPN, SIL, A), [UNK, AB]) == [(UNK, 0, 6), (AB, 12, 6)]
    assert finder.words(path(SIL), []) == []


def test_the_last_word_may_be_cut_short(finder):
    assert finder.words(path(A, B, SIL, C), [AB, CA]) == [(AB, 0, 12), (CA, 18, 6)]


@pytest.mark.parametrize(
    ("phones", "words"), [((C, A), [AB]), ((A, B), []), ((A, B), [AB, AB]), ((A, B, B), [AB]), ((SIL, SIL, A), [AB])]
)
def test_words_that_do_not_fit(finder, phones, words):
    with pytest.raises(ValueError, match="no pronunciation of"):
        finder.words(path(*phones), words)


def test_files(tmp_path):
    lang = SimpleNamespace(
        **vars(LANG),
        phones={"<eps>": 0, "sil": SIL, "spn": SPN, "a": A, "b": B, "c": C},
        word_ids=lambda text: [LANG.words[word] for word in text.split()],
    )
    transitions = mono_model()[1]
    alignments = AlignmentSet.of(["u1", "u2", "u3"], [path(SIL, A, B), path(C, A, SIL), path(SIL)])
    utterances = [
        Utterance(name, "rec", tmp_path, channel, start, 1.0, "spk", text)
        for name, channel, start, text in (("u1", 0, 0.0, "ab"), ("u2", 1, 10.0, "ca"), ("u3", 0, 20.0, ""))
    ]
    write_times(tmp_path, alignments, transitions, lang, utterances, textgrids=True)
    assert [tuple(w) for w in read_ctm(tmp_path / "words.ctm")] == [
        ("rec", "A", 0.06, 0.12, "ab"),
        ("rec", "B", 10.0, 0.12, "ca"),
    ]
    assert [w.word for w in read_ctm(tmp_path / "phones.ctm")] == ["sil", "a", "b", "c", "a", "sil", "sil"]
    grid = textgrid.openTextgrid(str(tmp_path / "textgrids" / "u2.TextGrid"), includeEmptyIntervals=False)
    assert [tuple(entry) for entry in grid.getTier("words").entries] == [(0.0, 0.12, "ca")]
    assert [entry.label for entry in grid.getTier("phones").entries] == ["c", "a", "sil"]
    assert grid.maxTimestamp == pytest.approx(0.18)
    silent = textgrid.openTextgrid(str(tmp_path / "textgrids" / "u3.TextGrid"), includeEmptyIntervals=False)
    assert silent.tierNames == ("words", "phones") and not silent.getTier("words").entries
    with pytest.raises(ValueError, match="alignment of u2: no such utterance"):
        write_times(tmp_path, alignments, transitions, lang, utterances[:1])
