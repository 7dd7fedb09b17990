"""Holding conversations out: sizes, speakers kept apart where possible."""

import logging

import pytest
from lhotse import Recording, SupervisionSegment

from asr_parallel.corpus.split import hold_out_conversations
from asr_parallel.corpus.swbd import Conversation


def conversation(number: int, speakers: str, utterances: int = 10) -> Conversation:
    found = Conversation(f"sw0{number}", Recording(f"sw0{number}", [], 8000, 8000, 1.0))
    for n in range(utterances):
        found.supervisions.append(
            SupervisionSegment(f"{number}-{n}", found.id, 0, 1, speaker=speakers[n % len(speakers)], text="a")
        )
    return found


def test_whole_conversations_from_the_first() -> None:
    conversations = [conversation(2001 + n, chr(65 + 2 * n) + chr(66 + 2 * n)) for n in range(20)]
    train, dev = hold_out_conversations(conversations, 40)
    assert [c.id for c in dev] == ["sw02001", "sw02002", "sw02003", "sw02004"]
    assert train == conversations[4:]
    assert len(hold_out_conversations(conversations)[1]) == 1  # 7 % of 200 is 14: two would be overfull


def test_speakers_who_met_stay_together(caplog: pytest.LogCaptureFixture) -> None:
    conversations = [conversation(2001, "AB"), conversation(2002, "CD"), conversation(2003, "BE")]
    conversations += [conversation(2004, "FG"), conversation(2005, "EH")]
    train, dev = hold_out_conversations(conversations, 20)
    assert [c.id for c in dev] == ["sw02002", "sw02004"]  # 1, 3 and 5 are one group, too large
    assert not set().union(*(c.speakers for c in train)) & set().union(*(c.speakers for c in dev))
    assert not caplog.records


def test_when_everyone_met_everyone_it_warns(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("asr_parallel"), "propagate", True)
    conversations = [conversation(2001 + n, "ABC") for n in range(10)]
    train, dev = hold_out_conversations(conversations, 20)
    assert [c.id for c in dev] == ["sw02001", "sw02002"] and len(train) == 8
    assert "3 speakers are in both train and dev" in caplog.text


def test_too_little_to_split() -> None:
    with pytest.raises(ValueError, match="1 conversation found; expected at least 2"):
        hold_out_conversations([conversation(2001, "AB"), conversation(2002, "CD", utterances=0)])
    two = [conversation(2001, "AB"), conversation(2002, "CD")]
    assert [c.id for c in hold_out_conversations(two)[1]] == ["sw02001"]
    with pytest.raises(ValueError, match=r"--dev-utterances 20: expected 1 to 19"):
        hold_out_conversations(two, 20)
