"""Stage 5 on disk: finished layers are kept, more layers come on top, and the stack begins a network."""

from pathlib import Path

import pytest
import torch

from asr_parallel.nnet.architectures.dnn import dnn
from asr_parallel.nnet.rbm_stack import load_rbm_weights, read_layer
from asr_parallel.nnet.stacked import StackedNetwork
from asr_parallel.pretraining import check_features as normalised
from asr_parallel.pretraining.rbm_options import PretrainOptions
from asr_parallel.pretraining.run_pretraining import pretrain


def options(layers: int) -> PretrainOptions:
    return PretrainOptions(layers=layers, hidden_dim=8, minibatch=32, precision="float32")


def test_finished_layers_are_kept_and_handed_over(
    frames_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(normalised, "SMALLEST_VARIANCE", 0.1)  # these features are normalised in mean alone
    out = tmp_path / "stack"
    pretrain(frames_folder, out, options(1), 1000, 10**9)
    made = (out / "1" / "rbm.safetensors").stat().st_mtime_ns
    pretrain(frames_folder, out, options(2), 1000, 10**9)
    assert (out / "1" / "rbm.safetensors").stat().st_mtime_ns == made
    assert sorted(path.name for path in out.iterdir()) == ["1", "2", "curves.png"]

    network = StackedNetwork(dnn(3, 5, 2, 8, 3), replicas=2).initialise(0)
    softmax = network.layers.weights[2].clone()
    load_rbm_weights(out, network)
    for layer in range(2):
        weight, bias, _ = read_layer(out / str(layer + 1))
        for r in range(2):
            assert torch.equal(network.layers.weights[layer][r], weight)
            assert torch.equal(network.layers.biases[layer][r], bias)
    assert torch.equal(network.layers.weights[2], softmax)
    with pytest.raises(ValueError, match=r"a layer of \(8, 33\)"):
        load_rbm_weights(out, StackedNetwork(dnn(3, 5, 2, 9, 3)))
    with pytest.raises(ValueError, match="network of sigmoids"):
        load_rbm_weights(out, StackedNetwork(dnn(3, 5, 2, 8, 3, "relu")))
    with pytest.raises(ValueError, match="not a finished layer"):
        load_rbm_weights(out, StackedNetwork(dnn(3, 5, 3, 8, 3)))
