"""Hub-5 scoring: which words count, and against which segment."""

import pytest

from asr_parallel.corpus.glm import MappingRules, read_glm
from asr_parallel.corpus.nist_files import CtmWord, StmSegment
from asr_parallel.decode.edit_distance import Counts
from asr_parallel.decode.hub5 import complete_channels, scorable_words, score_segments

NO_RULES = (MappingRules(), MappingRules())


def segment(start, end, text, channel="A", recording="sw_1"):
    return StmSegment(recording, channel, f"{recording}_{channel}", start, end, text)


def word(start, text, duration=0.2, channel="A"):
    return CtmWord("sw_1", channel, start, duration, text)


def counts(segments, words, rules=NO_RULES):
    return [s.counts for s in score_segments(segments, words, *rules)]


def test_noises_hesitations_and_fragments_do_not_count():
    words = [word(0, w) for w in ("UH", "yes", "[noise]", "[LAUGHTER]", "<unk>", "th-", "um", "well-known")]
    assert [w.word for w in scorable_words(words)] == ["yes", "well-known"]


def test_words_go_to_the_segment_their_middle_is_in():
    segments = [segment(0, 1, "a"), segment(1, 2, "b"), segment(2, 3, "c")]
    assert counts(segments, [word(0.85, "a"), word(0.95, "b"), word(2.4, "c")]) == [Counts(correct=1)] * 3
    # 1.0 is the middle of the second word: it belongs to the second segment
    assert counts(segments, [word(0.5, "a"), word(0.9, "b")]) == [Counts(1), Counts(1), Counts(dele=1)]


def test_words_between_segments_go_to_the_next_and_late_ones_to_the_last():
    segments = [segment(0, 1, "a"), segment(5, 6, "b c")]
    assert counts(segments, [word(0, "a"), word(3, "b"), word(60, "c")]) == [Counts(1), Counts(2)]


def test_ignored_segments_take_their_words_with_them():
    segments = [segment(0, 1, "a"), segment(1, 2, "IGNORE_TIME_SEGMENT_IN_SCORING"), segment(2, 3, "b")]
    assert counts(segments, [word(0, "a"), word(1.1, "x"), word(1.5, "y"), word(2, "b")]) == [Counts(1), Counts(1)]


def test_channels_are_apart():
    segments = [segment(0, 1, "a"), segment(0, 1, "b", channel="B")]
    assert counts(segments, [word(0, "a"), word(0, "b", channel="B")]) == [Counts(1), Counts(1)]
    with pytest.raises(ValueError, match="channel C"):
        counts(segments, [word(0, "a", channel="C")])


def test_a_channel_without_words_gets_nothing():
    segments = [segment(0, 1, "a"), segment(0, 1, "b", channel="B")]
    complete = complete_channels([word(0, "a")], segments)
    assert [(w.channel, w.word) for w in complete] == [("A", "a"), ("B", "@")]
    assert counts(segments, complete) == [Counts(correct=1), Counts(dele=1)]


def test_contractions_and_hyphens_of_the_hypothesis(tmp_path):
    (tmp_path / "glm").write_text(";;\n[WE'RE] => [{WE'RE / WE ARE}] / [ ] __ [ ]\n")
    rules = (MappingRules(), read_glm(tmp_path / "glm", ("ctm", "hyp")))
    segments = [segment(0, 1, "we are here"), segment(1, 2, "we're well known")]
    words = [word(0, "we're"), word(0.5, "here"), word(1, "we're"), word(1.5, "well-known")]
    assert counts(segments, words, rules) == [Counts(correct=3), Counts(correct=3)]


def test_a_split_word_may_belong_to_two_segments():
    segments = [segment(0, 1, "well"), segment(1, 2, "known")]
    assert counts(segments, [word(0.8, "well-known", duration=0.4)]) == [Counts(1), Counts(1)]


@pytest.mark.parametrize("said", ["we're", "we are", "they're"])
def test_rules_with_alternatives_apply_inside_alternatives(tmp_path, said):
    (tmp_path / "glm").write_text("[WE'RE] => [{WE'RE / WE ARE}] / [ ] __ [ ]\n")
    rules = read_glm(tmp_path / "glm", ("stm", "ref")), MappingRules()
    words = [word(float(n), text) for n, text in enumerate(said.split())]
    (found,) = counts([segment(0, 9, "{ we're / they're }")], words, rules)
    assert (found.errors, found.words) == (0, len(words))
