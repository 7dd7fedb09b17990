"""A network as an ONNX graph, from an utterance's features to the log-likelihoods of its frames.

Inputs: `features` (frames, D), as the feature archive has them. Where the features of each speaker are normalised, also
`speaker_mean` (D,), and with variances `speaker_scale` (D,), the inverse deviations. The frames at the ends are
repeated for the context, mean and scale of the training data and the priors are in the graph.
Output: `log_likelihoods` (frames, num_pdfs): log posterior minus log prior.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from asr_parallel.nnet.components import (
    SQUARED_FLOOR,
    TARGET_RMS,
    Affine,
    Component,
    Pnorm,
    Relu,
    Renorm,
    Sigmoid,
    Splice,
    Tanh,
)
from asr_parallel.nnet.network import Network
from asr_parallel.record.optional import require

OPSET = 17  # of 2022: what runtimes of some years ago read, too
IR_VERSION = 8  # the same year's
FEATURES, SPEAKER_MEAN, SPEAKER_SCALE, OUTPUT = "features", "speaker_mean", "speaker_scale", "log_likelihoods"
OPERATORS: dict[type[Component], str] = {Sigmoid: "Sigmoid", Tanh: "Tanh", Relu: "Relu"}
TO_THE_END = np.iinfo(np.int64).max


def input_names(network: Network) -> list[str]:
    """Return the inputs that the graph of a network has."""
    if network.normalisation.mean is not None:
        return [FEATURES]
    return [FEATURES, SPEAKER_MEAN] + [SPEAKER_SCALE] * network.normalisation.norm_vars


def onnx_model(network: Network, metadata: Mapping[str, str]) -> Any:
    """Return the ModelProto of a network.

    Raises:
        ValueError: onnx is not installed, or a component that has no operators.
    """
    onnx = require("onnx", "onnx", "exporting to ONNX")
    graph = _Graph(onnx)
    x = _normalise(graph, network)
    for placed in network.spec.placed_components:
        tensors = {name: tensor[0].numpy() for name, tensor in placed.views(network.net.parameters).items()}
        x = _component(graph, x, placed.component, placed.input_dim, tensors)
    x = graph.node("LogSoftmax", [x], axis=1)
    graph.node("Sub", [x, graph.constant(network.log_prior)], OUTPUT)
    dim, num_pdfs = network.spec.frame_dim, network.spec.num_pdfs

    def described(name: str, shape: Sequence[str | int]) -> Any:
        return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)

    inputs = [described(name, ["frames", dim] if name == FEATURES else [dim]) for name in input_names(network)]
    outputs = [described(OUTPUT, ["frames", num_pdfs])]
    made = onnx.helper.make_graph(graph.nodes, "acoustic_model", inputs, outputs, graph.constants)
    opset = onnx.helper.make_opsetid("", OPSET)
    model = onnx.helper.make_model(made, opset_imports=[opset], ir_version=IR_VERSION, producer_name="asr_parallel")
    onnx.helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model)
    return model


@dataclass
class _Graph:
    """Nodes and constants so far."""

    onnx: Any
    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)

    def constant(self, value: np.ndarray | Sequence[int]) -> str:
        """Add a constant, float32 or of integers; return its name."""
        array = np.array(value, dtype=np.int64) if isinstance(value, list) else np.asarray(value, dtype=np.float32)
        name = f"constant{len(self.constants)}"
        self.constants.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def node(self, operator: str, inputs: Sequence[str], output: str | None = None, **attributes: Any) -> str:
        """Add a node; return the name of its output."""
        output = output or f"{operator.lower()}{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(operator, list(inputs), [output], **attributes))
        return output


def _normalise(graph: _Graph, network: Network) -> str:
    """Normalise features and repeat those at the ends; return the name of the result."""
    normalisation = network.normalisation
    mean = SPEAKER_MEAN if normalisation.mean is None else graph.constant(np.array(normalisation.mean))
    x = graph.node("Sub", [FEATURES, mean])
    if SPEAKER_SCALE in input_names(network):
        x = graph.node("Mul", [x, SPEAKER_SCALE])
    x = graph.node("Mul", [x, graph.constant(np.array(normalisation.scale))])
    pads = graph.constant([network.spec.left_context, 0, network.spec.right_context, 0])
    return graph.node("Pad", [x, pads], mode="edge")


def _component(graph: _Graph, x: str, component: Component, input_dim: int, tensors: Mapping[str, np.ndarray]) -> str:
    if isinstance(component, Splice):
        return _splice(graph, x, component.offsets)
    if isinstance(component, Affine):
        return graph.node("Gemm", [x, graph.constant(tensors["weight"]), graph.constant(tensors["bias"])], transB=1)
    if type(component) in OPERATORS:
        return graph.node(OPERATORS[type(component)], [x])
    if isinstance(component, Pnorm):
        groups = graph.node("Reshape", [x, graph.constant([-1, input_dim // component.group, component.group])])
        return graph.node("ReduceL2", [groups], axes=[2], keepdims=0)
    if isinstance(component, Renorm):
        length = graph.node("ReduceL2", [x], axes=[1], keepdims=1)
        floor = graph.constant(np.array((SQUARED_FLOOR * input_dim) ** 0.5))
        target = graph.constant(np.array(TARGET_RMS * input_dim**0.5))
        return graph.node("Mul", [x, graph.node("Div", [target, graph.node("Max", [length, floor])])])
    raise ValueError(f"component {component.kind}: no ONNX operators for it")


def _splice(graph: _Graph, x: str, offsets: tuple[int, ...]) -> str:
    """Add slices of the frames, as many of each as the span of the offsets leaves."""
    parts = []
    for offset in offsets:
        start, end = offset - offsets[0], offset - offsets[-1]
        bounds = [graph.constant([start]), graph.constant([end or int(TO_THE_END)]), graph.constant([0])]
        parts.append(graph.node("Slice", [x, *bounds]))
    return graph.node("Concat", parts, axis=1)
