"""Forced alignment of real speech: connected digits, made of single recordings at known places."""

import os
from pathlib import Path

import numpy as np
import pytest

from asr_parallel.corpus.audio import read_audio
from asr_parallel.corpus.digit_lists import read_lists
from asr_parallel.corpus.digits import SAMPLING_RATE, join_recordings
from asr_parallel.corpus.lexicon import add_noise_words, read_lexicon
from asr_parallel.features.archive import write_archive
from asr_parallel.features.deltas import gmm_features
from asr_parallel.features.extractors import FRAME_SHIFT_SECONDS, open_extractor
from asr_parallel.hmm import mono, tri
from asr_parallel.hmm.gmm_training import GmmSchedule
from asr_parallel.hmm.lang import Lang, build_lang
from asr_parallel.hmm.training_set import TrainingSet
from asr_parallel.hmm.word_times import WordTimes

CORPUS = os.environ.get("ASR_PARALLEL_FSDD")
pytestmark = pytest.mark.skipif(
    CORPUS is None, reason="ASR_PARALLEL_FSDD does not name the folder of the digits corpus"
)
DIGITS = Path(__file__).parents[2] / "local" / "digits" / "lexicon.txt"
EVERY = 12  # of the 1,095 training utterances: about four and a half minutes of speech
PLAN = GmmSchedule(num_iters=14, max_iter_inc=10, realign_iters=(1, 2, 3, 4, 5, 6, 8, 10), total_gauss=250)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Features and transcripts of some training utterances, the lang folder, and where each word begins (seconds)."""
    folder = tmp_path_factory.mktemp("digits")
    extract = open_extractor("mfcc", SAMPLING_RATE)
    recordings = Path(CORPUS) / "recordings"
    utterances = read_lists(Path(CORPUS) / "lists")["train"][::EVERY]
    starts, waves = {}, []
    for utterance in utterances:
        waves.append(join_recordings(utterance, lambda name: read_audio(recordings / name)))
        lengths = [len(read_audio(recordings / name)) / SAMPLING_RATE for name in utterance.recordings]
        gaps = np.array(utterance.gaps_ms) / 1000
        starts[utterance.id] = np.cumsum(gaps[:-1]) + np.cumsum([0.0, *lengths[:-1]])
    speakers = [utterance.speaker for utterance in utterances]
    (folder / "feats").mkdir()
    write_archive(folder / "feats", zip(starts, speakers, extract(waves), strict=True))
    build_lang(folder / "lang", add_noise_words(read_lexicon(DIGITS), []))
    lang = Lang.open(folder / "lang")
    data = TrainingSet.of(gmm_features(folder / "feats"), {u.id: u.text for u in utterances}, lang)
    return data, lang, starts


def test_words_begin_where_recordings_were_joined(digits):
    data, lang, starts = digits
    system = mono.train_mono(data, lang, PLAN, jobs=2)
    second = tri.train_tri(data, lang, system.transitions, system.alignments, 100, PLAN, jobs=2)
    for trained in (system, second):
        finder = WordTimes(lang, trained.transitions)
        errors = []
        for name, tids in zip(trained.alignments.ids, trained.alignments, strict=True):
            words = data.words[data.ids.index(name)]
            times = finder.words(tids, [lang.words[word] for word in words])
            errors += list(np.array([start for _, start, _ in times]) * FRAME_SHIFT_SECONDS - starts[name])
        assert len(trained.failed) <= 1
        assert abs(np.median(errors)) < 0.02
        assert np.median(np.abs(errors)) < 0.05
