"""A tiny system of four phones, whose frames hold still at a level of each phone: features, model and graph."""

import numpy as np

from asr_parallel.corpus.arpa import write_arpa
from asr_parallel.corpus.ngram import uniform_model
from asr_parallel.decode.decoder_options import DecoderOptions
from asr_parallel.features.archive import write_archive
from asr_parallel.features.deltas import gmm_features
from asr_parallel.hmm.gmm import DiagGmmSet
from asr_parallel.hmm.graph import make_graph
from asr_parallel.hmm.lang import Lang, build_lang
from asr_parallel.hmm.topology import Topology
from asr_parallel.hmm.transitions import TransitionModel
from asr_parallel.hmm.tree import monophone_tree

LEXICON = {"oh": [(1.0, ("ow",))], "no": [(1.0, ("n", "ow"))], "on": [(1.0, ("ow", "n"))], "<unk>": [(1.0, ("spn",))]}
LEVELS = {"sil": 0.0, "spn": 40.0, "n": 10.0, "ow": 20.0}  # each phone holds still at a level of its own
FRAMES_A_PHONE = 8
TRUTH = {"s1-1": "sil n ow sil", "s1-2": "ow n ow", "s1-3": "sil ow n sil n ow", "s2-1": "ow sil", "s2-2": "sil ow"}
WORDS = {"s1-1": "no", "s1-2": "on oh|oh no", "s1-3": "on no", "s2-1": "oh", "s2-2": "oh"}


def frames_of(phones, rng):
    levels = np.repeat([LEVELS[phone] for phone in phones.split()], FRAMES_A_PHONE)
    return np.stack([levels, -levels], axis=1) + rng.normal(size=(len(levels), 2)) * 0.1


def make_tiny_system(folder):
    """Make folders lang, feats, model, graph."""
    build_lang(folder / "lang", LEXICON)
    write_arpa(folder / "lm.arpa", uniform_model(LEXICON))
    rng = np.random.default_rng(0)
    utterances = [(i, i[:2], frames_of(phones, rng)) for i, phones in TRUTH.items()]
    utterances.insert(2, ("s1-2empty", "s1", np.empty((0, 2))))
    utterances.append(("s3-nan", "s3", np.full((9, 2), np.nan)))
    (folder / "feats").mkdir()
    write_archive(folder / "feats", utterances)
    lang = Lang.open(folder / "lang")
    topology = Topology.of_phones(lang.silence_phones, lang.nonsilence_phones, 3, 2)
    tree = monophone_tree(topology)
    transitions = TransitionModel.build(topology, tree)
    (folder / "model").mkdir()
    tree.save(folder / "model")
    transitions.save(folder / "model")
    write_gmm(folder, lang, transitions)
    (folder / "graph").mkdir()
    make_graph(folder / "graph", folder / "lang", folder / "lm.arpa", folder / "model")


def write_gmm(folder, lang, transitions):
    """The mean of each phone's frames, in the features that the model will get."""
    features = gmm_features(folder / "feats")
    name_of = {i: name for name, i in lang.phones.items()}
    frames: dict[str, list[np.ndarray]] = {}
    for utterance, matrix in zip(features.ids, features, strict=True):
        if utterance in TRUTH:
            for i, phone in enumerate(TRUTH[utterance].split()):
                frames.setdefault(phone, []).append(matrix[i * FRAMES_A_PHONE : (i + 1) * FRAMES_A_PHONE])
    means = np.full((transitions.num_pdfs, 6), 1e3)
    for phone, _, pdf in transitions.tuples.tolist():
        if name_of[phone] in frames:
            means[pdf] = np.concatenate(frames[name_of[phone]]).mean(axis=0)
    DiagGmmSet.single(means, np.full_like(means, 20.0)).save(folder / "model")


OPTIONS = DecoderOptions(lattice_beam=8.0)
