"""Decoding with scores that one process computes for all, on the CPU and, where there is one, on a GPU."""

import json
import tempfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from tiny_system import OPTIONS, make_tiny_system

from asr_parallel.cli import decode as verb
from asr_parallel.cli.main import main
from asr_parallel.decode import acoustic, batched_scores, decode, scored_search
from asr_parallel.decode.batched_scores import ScoredBatch, StoredScores, batches_of, in_order
from asr_parallel.decode.lattice_archive import read_lattices
from asr_parallel.features.archive import FeatureArchive
from asr_parallel.features.normalisation import Normalisation
from asr_parallel.hmm.transitions import TransitionModel
from asr_parallel.nnet.architectures.dnn import dnn
from asr_parallel.nnet.network import Network, log_priors
from asr_parallel.nnet.stacked import StackedNetwork
from asr_parallel.record.files import write_json

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]
TEXTS = ("1best.txt", "words.txt")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Folders graph, feats and net, a network of random parameters."""
    folder = tmp_path_factory.mktemp("tiny system")
    make_tiny_system(folder)
    write_json(folder / "feats" / "kind.json", {"kind": "fbank"})
    dim, num_pdfs = FeatureArchive.open(folder / "feats").dim, TransitionModel.open(folder / "model").num_pdfs
    net = StackedNetwork(dnn(dim, 2, 1, 8, num_pdfs, "sigmoid")).initialise(0)
    net.layers.weights[-1].normal_(0, 3, generator=torch.Generator().manual_seed(0))
    (folder / "net").mkdir()
    Network(net, log_priors(np.ones(num_pdfs)), Normalisation("fbank", False, (0.1,) * dim)).save(folder / "net")
    return folder


def decode_all(tiny, out, jobs=1, search=None):
    out.mkdir()
    given = tiny / "graph", tiny / "net", tiny / "feats", out, OPTIONS
    return decode.decode_set(*given, jobs=jobs, num_best=3, search=search)


@pytest.fixture(scope="module")
def decoded(tiny):
    """The folder of a decode in which each process scores for itself."""
    decode_all(tiny, tiny / "decode")
    return tiny / "decode"


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("device", DEVICES)
def test_lattices_are_those_of_processes_that_score_for_themselves(tiny, decoded, tmp_path, monkeypatch, device, jobs):
    monkeypatch.setattr(decode, "START_UP_SECONDS", 0.0)  # else so little work is not shared out
    monkeypatch.setattr(batched_scores, "BATCH_FRAMES", 60)  # two utterances a batch, or three
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    summary = decode_all(tiny, tmp_path / "out", jobs, scored_search.scored_search(device, jobs))
    assert not list(tmp_path.glob("asr-parallel-scores-*"))
    for name in TEXTS:
        assert (tmp_path / "out" / name).read_text() == (decoded / name).read_text()
    want = json.loads((decoded / "decode.json").read_text())
    assert summary["failed"] == want["failed"] != {} and summary["audio_seconds"] == want["audio_seconds"]
    assert summary["cpu_seconds"] > 0
    ours, theirs = (list(read_lattices(folder / "lat.1.gz")) for folder in (tmp_path / "out", decoded))
    assert [utterance for utterance, _ in ours] == [utterance for utterance, _ in theirs]
    for (_, a), (_, b) in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a.transition_ids, b.transition_ids)
        for name in ("olabel", "next", "begin", "end"):
            np.testing.assert_array_equal(a.arcs[name], b.arcs[name])
        for name in ("graph_cost", "acoustic_cost"):
            np.testing.assert_allclose(a.arcs[name], b.arcs[name], atol=1e-2)


def test_a_model_of_other_pdfs_is_refused(tiny, tmp_path):
    other = tmp_path / "net"
    other.mkdir()
    net = StackedNetwork(dnn(2, 2, 1, 8, 3, "sigmoid"))
    Network(net, log_priors(np.ones(3)), Normalisation("fbank", False, (0.1,) * 2)).save(other)
    given = tiny / "graph", other, tiny / "feats", tmp_path, OPTIONS
    with pytest.raises(ValueError, match=r"net knows 3 pdfs, the graph .* 10: build the graph"):
        decode.decode_set(*given, search=scored_search.scored_search("cpu", 1))


def test_batches_are_consecutive_and_bounded():
    assert list(batches_of([])) == []
    assert list(batches_of([0, 0])) == [(0, 2)]
    most = batched_scores.BATCH_FRAMES
    assert list(batches_of([most, 1, most - 1, 0, 3 * most, 5])) == [(0, 1), (1, 4), (4, 5), (5, 6)]
    assert list(batches_of([5, 0, 6, 30, 1, 1, 9, 0], 11)) == [(0, 3), (3, 4), (4, 8)]


@pytest.mark.parametrize(("jobs", "most"), [(None, 1), (2, 3), (9, 4)])
def test_results_keep_their_order_and_few_batches_are_there_at_a_time(tmp_path, jobs, most):
    there = []

    def batches():
        for n in range(6):
            path = tmp_path / f"{n}"
            path.touch()
            there.append(len(list(tmp_path.iterdir())))
            yield ScoredBatch(path, [StoredScores(path, k, 1, 1, 0.0) for k in range(3)])

    with ThreadPoolExecutor(2) as pool:
        results = in_order(batches(), lambda one: (one.path.name, one.start), None if jobs is None else pool, jobs or 1)
        assert list(results) == [(f"{n}", k) for n in range(6) for k in range(3)]
    assert max(there) == most and not list(tmp_path.iterdir())


def test_the_verb_takes_a_gpu_for_networks_alone(tiny, tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: "a GPU")
    monkeypatch.setattr(scored_search, "scored_search", lambda *given: asked.append(given))  # None: as without a GPU
    assert acoustic.scoring_device(tiny / "model", "cuda") is None  # a GMM system
    words = ["decode", "--graph", f"{tiny}/graph", "--model", f"{tiny}/net", "--feats", f"{tiny}/feats", "--jobs", "1"]
    for number, device in enumerate(([], ["--device", "cpu"], ["--device", "cuda:1"])):
        assert main([*words, "--out", f"{tmp_path}/{number}", *device]) == 0
    assert asked == [("cuda", 1), ("cuda:1", 1)]
    recorded = [json.loads((tmp_path / f"{n}" / "decode.json").read_text())["scored_on"] for n in range(3)]
    assert recorded == ["cuda", "cpu", "cuda:1"]
    capsys.readouterr()
    for wrong, message in (("cuda:2", "expected a number below 2"), ("tpu", "unknown device 'tpu'")):
        assert main([*words, "--out", f"{tmp_path}/{wrong}", "--device", wrong]) == 1
        assert message in capsys.readouterr().err
    assert verb.DeviceOptions().device == "auto"
