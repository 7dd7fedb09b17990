"""A tiny system decoded from feature folder to timed words."""

import json
import shutil

import kaldifst
import numpy as np
import pytest
import torch
from tiny_system import FRAMES_A_PHONE, LEXICON, OPTIONS, WORDS, make_tiny_system

from asr_parallel.cli.main import main
from asr_parallel.decode import decode
from asr_parallel.decode.acoustic import default_options, open_acoustic_model
from asr_parallel.decode.decoder_options import DecoderOptions
from asr_parallel.decode.hypotheses import WordTime, hypotheses_of
from asr_parallel.decode.lattice_archive import read_lattices
from asr_parallel.features.archive import FeatureArchive
from asr_parallel.features.normalisation import Normalisation
from asr_parallel.hmm.gmm import DiagGmmSet
from asr_parallel.hmm.lang import build_lang
from asr_parallel.hmm.transitions import TransitionModel
from asr_parallel.nnet.architectures.dnn import dnn
from asr_parallel.nnet.ensemble_network import save_ensemble
from asr_parallel.nnet.network import Network, log_priors
from asr_parallel.nnet.stacked import StackedNetwork
from asr_parallel.record.files import write_json


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Folders lang, feats, model, graph."""
    folder = tmp_path_factory.mktemp("tiny system")
    make_tiny_system(folder)
    return folder


def decode_all(tiny, out, jobs):
    out.mkdir()
    return decode.decode_set(tiny / "graph", tiny / "model", tiny / "feats", out, OPTIONS, jobs=jobs, num_best=3)


@pytest.fixture(scope="module")
def decoded(tiny):
    decode_all(tiny, tiny / "decode", jobs=1)
    return tiny / "decode"


def test_words_are_found_and_failures_are_counted(tiny, decoded):
    lines = dict(line.partition(" ")[::2] for line in (decoded / "1best.txt").read_text().splitlines())
    assert list(lines) == ["s1-1", "s1-2", "s1-2empty", "s1-3", "s2-1", "s2-2", "s3-nan"]
    for utterance, words in WORDS.items():
        assert lines[utterance] in words.split("|")
    assert lines["s1-2empty"] == lines["s3-nan"] == ""
    summary = json.loads((decoded / "decode.json").read_text())
    assert summary["failed"] == {"s1-2empty": "no frames", "s3-nan": "log-likelihoods are not all finite"}
    assert summary["utterances"] == 7 and summary["without_final_state"] == 0
    assert summary["options"]["lattice_beam"] == 8.0 and summary["mean_active_tokens"] > 1
    assert [utterance for utterance, _ in read_lattices(decoded / "lat.1.gz")] == list(WORDS)
    first = (decoded / "nbest.txt").read_text().splitlines()[0].split()
    assert first[0] == "s1-1-1" and first[2:] == ["no"]


def test_result_does_not_depend_on_the_number_of_processes(tiny, decoded, monkeypatch):
    monkeypatch.setattr(decode, "START_UP_SECONDS", 0.0)  # else so little work is not shared out
    decode_all(tiny, tiny / "decode 2", jobs=2)
    for name in ("lat.1.gz", "1best.txt", "nbest.txt", "words.txt"):
        assert (tiny / "decode 2" / name).read_bytes() == (decoded / name).read_bytes()


def test_hypotheses_have_the_times_of_their_phones(tiny, decoded):
    found = dict(hypotheses_of(decoded, tiny / "lang", [5, 17], [0.0, 1.0]))
    assert set(found["s1-1"]) == {(5, 0.0), (5, 1.0), (17, 0.0), (17, 1.0)}
    assert found["s3-nan"][5, 0.0] == found["s1-2empty"][17, 1.0] == []
    (word,) = found["s1-1"][5, 0.0]
    expected = WordTime("no", 0.01 * FRAMES_A_PHONE, 0.01 * 2 * FRAMES_A_PHONE)
    assert word.word == "no"
    # deltas reach over the border by a few frames
    assert word.start == pytest.approx(expected.start, abs=0.03)
    assert word.duration == pytest.approx(expected.duration, abs=0.06)
    first, second = found["s1-3"][17, 0.0]
    assert (first.word, second.word) == ("on", "no")
    assert second.start - (first.start + first.duration) == pytest.approx(0.01 * FRAMES_A_PHONE, abs=0.06)


def test_hypotheses_want_a_decode_folder_and_its_own_lang(tiny, decoded, tmp_path):
    with pytest.raises(ValueError, match=r"no 1best\.txt"):
        next(hypotheses_of(tiny / "lang", tiny / "lang", [5], [0]))
    build_lang(tmp_path / "other", {**LEXICON, "ohno": [(1.0, ("ow", "n"))]})
    with pytest.raises(ValueError, match="other words"):
        next(hypotheses_of(decoded, tmp_path / "other", [5], [0]))
    build_lang(tmp_path / "respelt", {**LEXICON, "no": [(1.0, ("n", "ow", "w"))]})
    with pytest.raises(ValueError, match="its phones are not those of"):
        next(hypotheses_of(decoded, tmp_path / "respelt", [5], [0]))


def test_what_does_not_fit_together_is_refused(tiny, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(ValueError, match="neither gmm"):
        open_acoustic_model(other)
    DiagGmmSet.single(np.zeros((3, 6)), np.ones((3, 6))).save(other)
    with pytest.raises(ValueError, match=r"knows 3 pdfs, the graph .* 10: build the graph"):
        decode.decode_set(tiny / "graph", other, tiny / "feats", tmp_path, OPTIONS)
    DiagGmmSet.single(np.zeros((10, 39)), np.ones((10, 39))).save(other)
    with pytest.raises(ValueError, match="6 dimensions with deltas, the GMM was trained on 39"):
        decode.decode_set(tiny / "graph", other, tiny / "feats", tmp_path, OPTIONS)
    with pytest.raises(ValueError, match=r"no words\.txt; expected a graph"):
        decode.decode_set(tiny / "model", tiny / "model", tiny / "feats", tmp_path, OPTIONS)
    with pytest.raises(ValueError, match=r"no utterances\.json"):
        decode.decode_set(tiny / "graph", tiny / "model", tiny / "lang", tmp_path, OPTIONS)


def test_a_network_is_decoded_with_kaldis_options_for_networks(tiny, tmp_path):
    (tmp_path / "net.safetensors").touch()
    assert default_options(tmp_path) == DecoderOptions(lattice_beam=8.0, acwt=0.1)
    assert default_options(tiny / "model") == DecoderOptions()


def test_verbs_cache_and_report_in_one_line(tiny, tmp_path, capsys):
    graph, out = tmp_path / "graph", tmp_path / "out"
    made = ["--lang", f"{tiny}/lang", "--lm", f"{tiny}/lm.arpa", "--model", f"{tiny}/model", "--out", str(graph)]
    words = ["decode", "--graph", str(graph), "--model", f"{tiny}/model", "--feats", f"{tiny}/feats", "--out", str(out)]
    assert main(["make-graph", *made]) == 0
    assert main([*words, "--jobs", "1"]) == 0
    written = (out / "lat.1.gz").stat().st_mtime_ns
    assert main(["make-graph", *made]) == 0
    assert main([*words, "--jobs", "2"]) == 0  # the number of processes is no reason to decode again
    assert (out / "lat.1.gz").stat().st_mtime_ns == written
    assert main([*words, "--beam", "-3"]) == 1
    assert main([*words, "--model", f"{tiny}/nowhere"]) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert len(errors) == 2 and "above 0" in errors[0] and "nowhere" in errors[1]


def test_the_verb_decodes_with_an_ensemble(tiny, tmp_path):
    """Its members alone too, with other likelihoods: each path's is in the lattices."""
    model, feats = tmp_path / "ensemble", tmp_path / "feats"
    shutil.copytree(tiny / "feats", feats)
    write_json(feats / "kind.json", {"kind": "fbank"})
    dim, num_pdfs = FeatureArchive.open(feats).dim, TransitionModel.open(tiny / "model").num_pdfs
    prior = log_priors(np.ones(num_pdfs))
    for n in range(2):
        (model / str(n)).mkdir(parents=True)
        net = StackedNetwork(dnn(dim, 1, 1, 8, num_pdfs, "sigmoid")).initialise(n)
        net.layers.weights[-1].normal_(0, 3, generator=torch.Generator().manual_seed(n))
        Network(net, prior, Normalisation("fbank", False, (0.1,) * dim)).save(model / str(n))
    save_ensemble(model, [0, 1], "posterior", [prior, prior])
    scores = []
    for folder in (model, model / "0", model / "1"):
        out = tmp_path / f"decode {folder.name}"
        given = ["--graph", tiny / "graph", "--model", folder, "--feats", feats, "--out", out, "--jobs", "1"]
        assert main(["decode", *map(str, given)]) == 0
        summary = json.loads((out / "decode.json").read_text())
        assert summary["options"]["acwt"] == 0.1 and summary["failed"].keys() == {"s1-2empty", "s3-nan"}
        scores.append((out / "lat.1.gz").read_bytes())
    assert len(set(scores)) == 3


def verb(name, **given):
    assert main([name, *(str(word) for option, value in given.items() for word in (f"--{option}", value))]) == 0


@pytest.mark.parametrize("kind", ["gmm", "network"])
def test_a_model_and_a_graph_of_kaldi_decode_as_here(tiny, tmp_path, kind):
    feats, own, kaldi = tmp_path / "feats", tiny / "model", tmp_path / "kaldi"
    shutil.copytree(tiny / "feats", feats)
    write_json(feats / "kind.json", {"kind": "fbank"})
    if kind == "gmm":
        verb("export-kaldi", model=own, out=kaldi)
        verb("import-kaldi-gmm", system=kaldi, out=tmp_path / "imported")
    else:
        dim, num_pdfs = FeatureArchive.open(feats).dim, TransitionModel.open(own).num_pdfs
        net = StackedNetwork(dnn(dim, 1, 1, 8, num_pdfs, "tanh")).initialise(0)
        net.layers.weights[-1].normal_(0, 3, generator=torch.Generator().manual_seed(0))
        own = tmp_path / "own"
        own.mkdir()
        Network(net, log_priors(np.arange(1, num_pdfs + 1)), Normalisation("fbank", False, (0.1,) * dim)).save(own)
        verb("export-kaldi", model=own, system=tiny / "model", out=kaldi)
        verb("import-kaldi-network", network=kaldi / "final.mdl", feats=feats, out=tmp_path / "imported")
    graph = kaldifst.StdVectorFst.read(str(tiny / "graph" / "HCLG.fst"))
    assert kaldifst.StdConstFst(graph).write(str(tmp_path / "HCLG.fst"))  # as mkgraph.sh writes it
    shutil.copyfile(tiny / "graph" / "words.txt", tmp_path / "words.txt")
    verb("import-kaldi-graph", hclg=tmp_path / "HCLG.fst", model=kaldi / "final.mdl", out=tmp_path / "graph")
    given = {"feats": feats, "jobs": 1, "nbest": 3}
    verb("decode", graph=tiny / "graph", model=own, out=tmp_path / "here", **given)
    verb("decode", graph=tmp_path / "graph", model=tmp_path / "imported", out=tmp_path / "there", **given)
    here, there = ((tmp_path / name / "1best.txt").read_text() for name in ("here", "there"))
    assert here == there and len(here.split()) > len(WORDS) + 2
    costs = [
        [float(line.split()[1]) for line in (tmp_path / name / "nbest.txt").read_text().splitlines()]
        for name in ("here", "there")
    ]
    assert costs[0] == pytest.approx(costs[1], abs=0.05)
