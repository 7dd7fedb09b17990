"""Several networks as one: their folder, what decoding makes of them, and what is damaged."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from asr_parallel.decode.acoustic import DNN_OPTIONS, default_options, open_acoustic_model
from asr_parallel.features.archive import write_archive
from asr_parallel.features.normalisation import Normalisation
from asr_parallel.nnet.architectures.dnn import dnn
from asr_parallel.nnet.choices import AVERAGES
from asr_parallel.nnet.dnn_acoustic_model import DnnAcousticModel
from asr_parallel.nnet.ensemble_network import EnsembleNetwork, save_ensemble
from asr_parallel.nnet.network import NEVER_CHOSEN, Network, log_priors
from asr_parallel.nnet.stacked import StackedNetwork
from asr_parallel.record.files import write_json

COUNTS = {0: [5, 3, 2, 10], 2: [5, 5, 5, 5], 5: [0, 8, 8, 4]}


def member(seed: int, hidden_dim: int = 8) -> Network:
    prior, spec = log_priors(np.array(COUNTS[seed])), dnn(3, 2, 1, hidden_dim, 4, "sigmoid")
    normalisation = Normalisation("fbank", False, (1.0, 0.5, 2.0))
    net = StackedNetwork(spec).initialise(seed)
    net.layers.weights[-1].normal_(0, 3, generator=torch.Generator().manual_seed(seed))
    return Network(net, prior, normalisation, {"kind": "fbank"})


def save(folder: Path, average: str = "posterior") -> dict[int, Network]:
    members = {n: member(n) for n in COUNTS}
    for n, network in members.items():
        (folder / str(n)).mkdir(parents=True)
        network.save(folder / str(n))
    save_ensemble(folder, list(members), average, [network.log_prior for network in members.values()])
    return members


def by_hand(members: dict[int, Network], average: str, x: torch.Tensor) -> np.ndarray:
    """Log of the mean posterior, in double precision."""
    posteriors = [torch.softmax(network.logits(x).double(), dim=1) for network in members.values()]
    if average == "posterior":
        return torch.stack(posteriors).mean(dim=0).log().numpy()
    return torch.log_softmax(torch.stack(posteriors).log().mean(dim=0), dim=1).numpy()


@pytest.mark.parametrize("average", AVERAGES)
def test_it_opens_as_it_was_saved(tmp_path: Path, average: str) -> None:
    members = save(tmp_path, average)
    again = EnsembleNetwork.open(tmp_path)
    assert again.outputs.average == average and len(again.members) == 3
    for mine, theirs in zip(again.members, members.values(), strict=True):
        assert torch.equal(mine.net.parameters, theirs.net.parameters) and mine.spec == theirs.spec
    x = 2 * torch.randn(9, 15, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(again.log_posteriors(x).numpy(), by_hand(members, average, x), atol=1e-5)
    alone = torch.log_softmax(members[0].logits(x), dim=1)
    assert (again.log_posteriors(x) - alone).abs().amax() > 0.1
    assert torch.equal(Network.open(tmp_path / "2").net.parameters, members[2].net.parameters)  # each decodes alone


def test_the_prior_is_the_mean_of_the_members(tmp_path: Path) -> None:
    """One that chooses a pdf never adds nothing to it; a pdf that all choose never stays so."""
    save(tmp_path)
    shares = [np.array(counts) / 20 for counts in COUNTS.values()]
    np.testing.assert_allclose(np.exp(EnsembleNetwork.open(tmp_path).log_prior), np.mean(shares, axis=0), rtol=1e-6)
    never = log_priors(np.array([1, 0, 3, 0]))
    save_ensemble(tmp_path, [0, 2], "posterior", [never, log_priors(np.array([1, 1, 2, 0]))])
    prior = np.load(tmp_path / "log_prior.npy")
    np.testing.assert_allclose(prior[:3], np.log([0.25, 0.125, 0.625]), rtol=1e-6)
    assert prior[3] == np.float32(NEVER_CHOSEN)


@pytest.mark.parametrize("average", AVERAGES)
def test_decoding_gets_log_mean_posterior_minus_log_prior(tmp_path: Path, average: str) -> None:
    members = save(tmp_path / "model", average)
    feats = tmp_path / "feats"
    feats.mkdir()
    write_archive(feats, [("a", "s", np.random.default_rng(0).normal(4, 2, (30, 3)).astype(np.float32))])
    write_json(feats / "kind.json", {"kind": "fbank"})
    acoustic = open_acoustic_model(tmp_path / "model")
    assert isinstance(acoustic, DnnAcousticModel) and acoustic.num_pdfs == 4
    assert default_options(tmp_path / "model") == DNN_OPTIONS
    features = acoustic.open_features(feats)[0]
    padded = torch.from_numpy(np.pad(features, ((2, 2), (0, 0)), mode="edge"))
    x = torch.stack([padded[t : t + 5].flatten() for t in range(30)])
    prior = np.log(np.mean([np.array(counts) / 20 for counts in COUNTS.values()], axis=0))
    got = acoustic.log_likelihoods(features)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, by_hand(members, average, x) - prior, atol=1e-4)


def change(**fields: object) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        described = json.loads((folder / "ensemble.json").read_text()) | fields
        write_json(folder / "ensemble.json", {name: value for name, value in described.items() if value is not None})

    return damage


def cut(name: str, left: int) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:left])


def priors(array: np.ndarray) -> Callable[[Path], None]:
    return lambda folder: np.save(folder / "log_prior.npy", array)


def other_member(folder: Path) -> None:
    member(2, hidden_dim=16).save(folder / "2")


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "not JSON": (cut("ensemble.json", 9), r"ensemble\.json: not valid JSON"),
    "a list": (
        lambda f: write_json(f / "ensemble.json", ["members"]),
        r"ensemble\.json: does not describe an ensemble",
    ),
    "no members named": (change(members=None), r"ensemble\.json: does not describe an ensemble: 'members'"),
    "no average": (change(average=None), r"ensemble\.json: does not describe an ensemble: 'average'"),
    "another average": (change(average="mean"), r"ensemble\.json: .*unknown ensemble_average 'mean'"),
    "members that are none": (change(members=7), r"ensemble\.json: does not describe an ensemble"),
    "no member": (change(members=[]), r"ensemble\.json: members \[\]: expected numbers of workers, one at least"),
    "a path": (change(members=["../elsewhere"]), r"ensemble\.json: members .*: expected numbers of workers"),
    "a member that is not there": (change(members=[0, 1]), r"1: no net\.json; expected a network made by stage 6"),
    "a member without weights": (lambda f: (f / "5" / "net.safetensors").unlink(), r"5: no net\.safetensors"),
    "a cut member": (cut("5/net.safetensors", 100), r"5/net\.safetensors: not a safetensors file"),
    "a member of another shape": (other_member, "its members are of different shapes"),
    "no prior": (lambda f: (f / "log_prior.npy").unlink(), r"no log_prior\.npy"),
    "a cut prior": (cut("log_prior.npy", 130), r"log_prior\.npy: truncated or not"),
    "an empty prior": (cut("log_prior.npy", 0), r"log_prior\.npy: truncated or not"),
    "a prior of other pdfs": (priors(np.zeros(3, np.float32)), r"log_prior\.npy: 3 priors for 4 pdfs"),
    "a prior that is a number": (priors(np.float32(1)), r"log_prior\.npy: 1 priors for 4 pdfs"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_or_missing_files_are_one_line(tmp_path: Path, name: str) -> None:
    damage, message = DAMAGES[name]
    save(tmp_path / "whole")
    folder = tmp_path / "damaged"
    shutil.copytree(tmp_path / "whole", folder)
    damage(folder)
    with pytest.raises(ValueError, match=message) as refused:
        open_acoustic_model(folder)
    assert "\n" not in str(refused.value) and str(folder) in str(refused.value)


def test_of_one_member_it_is_that_member(tmp_path: Path) -> None:
    network = member(0)
    (tmp_path / "0").mkdir()
    network.save(tmp_path / "0")
    save_ensemble(tmp_path, [0], "posterior", [network.log_prior])
    x = torch.randn(5, 15, generator=torch.Generator().manual_seed(0))
    again = EnsembleNetwork.open(tmp_path)
    torch.testing.assert_close(again.log_posteriors(x), torch.log_softmax(network.logits(x), dim=1))
    assert math.isclose(float(np.exp(again.log_prior).sum()), 1, abs_tol=1e-6)
