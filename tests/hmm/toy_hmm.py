"""A toy world for the HMM tests: two words, five phones, utterances drawn from known Gaussians."""

from types import SimpleNamespace

import numpy as np

from asr_parallel.features.archive import FeatureArchive
from asr_parallel.hmm.topology import Topology
from asr_parallel.hmm.training_graph import GraphBuilder
from asr_parallel.hmm.training_set import TrainingSet
from asr_parallel.hmm.transitions import TransitionModel
from asr_parallel.hmm.tree import monophone_tree

SIL, SPN, A, B, C = 1, 2, 3, 4, 5
DIM = 3
LANG = SimpleNamespace(
    words={"<eps>": 0, "ab": 1, "ca": 2, "<unk>": 3},
    silence_phones=[SIL, SPN],
    nonsilence_phones=[A, B, C],
    optional_silence=SIL,
    lexicon={"ab": [(1.0, (A, B)), (0.5, (A,))], "ca": [(1.0, (C, A))], "<unk>": [(1.0, (SPN,))]},
)
TOPOLOGY = Topology.of_phones(LANG.silence_phones, LANG.nonsilence_phones)


def mono_model():
    """Monophone tree and transition model of the toy phones."""
    tree = monophone_tree(TOPOLOGY)
    return tree, TransitionModel.build(TOPOLOGY, tree)


def builder():
    """Builds monophone graphs."""
    return GraphBuilder(LANG, *mono_model())


def draw_utterances(num_utterances: int, seed: int = 0) -> tuple[TrainingSet, list[list[tuple[int, int]]]]:
    """Utterances of random words, silence between them now and then, 4 to 8 frames for each phone state.

    Returns the training set and for each utterance its (word id, first frame) pairs. The mean of phone A depends on
    whether C stands before it.
    """
    rng = np.random.default_rng(seed)
    means = {(phone, state): rng.normal(0, 8, DIM) for phone in range(1, 6) for state in range(3)}
    shift = np.array([6.0, 0.0, 0.0])
    frames, texts, truth = [], {}, []
    for u in range(num_utterances):
        words = rng.choice(["ab", "ca"], size=rng.integers(1, 4)).tolist()
        phones, marks = [SIL] * rng.integers(2), []
        for word in words:
            marks.append((LANG.words[word], len(phones)))
            phones += [*LANG.lexicon[word][0][1], *[SIL] * rng.integers(2)]
        rows, starts = [], []
        for i, phone in enumerate(phones):
            starts.append(len(rows))
            after_c = phone == A and i > 0 and phones[i - 1] == C
            for state in range(3):
                mean = means[phone, 0 if phone == SIL else state] + (shift if after_c else 0)
                rows += list(mean + rng.normal(size=(rng.integers(4, 9), DIM)))
        frames.append(np.array(rows, dtype=np.float32))
        texts[f"u{u:03d}"] = " ".join(words)
        truth.append([(word, starts[i]) for word, i in marks])
    offsets = np.concatenate([[0], np.cumsum([len(f) for f in frames])])
    archive = FeatureArchive(list(texts), ["speaker"] * len(texts), offsets, np.concatenate(frames))
    return TrainingSet.of(archive, texts, LANG), truth
