"""A network in the format of Kaldi's nnet3 (Kaldi: src/nnet3/nnet-nnet.cc, am-nnet-simple.cc, nnet-*-component.cc).

A file has lines that say which component reads what, an empty line, and the components by name. The features' scale and
mean are components, too; per-speaker CMVN is not, as apply-cmvn does that. The output is the log posterior.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from asr_parallel.hmm.kaldi.object_writer import ObjectWriter
from asr_parallel.nnet.components import TARGET_RMS, Affine, Component, Pnorm, Relu, Renorm, Sigmoid, Splice, Tanh
from asr_parallel.nnet.network import Network

# Of components whose only number is their dimension
NONLINEAR: dict[type[Component], str] = {
    Sigmoid: "SigmoidComponent",
    Tanh: "TanhComponent",
    Relu: "RectifiedLinearComponent",
}
# For training on in Kaldi: defaults of src/nnet3/nnet-simple-component.cc, NaturalGradientAffineComponent
LEARNING_RATE, RANK_IN, RANK_OUT, UPDATE_PERIOD, SAMPLES_HISTORY, ALPHA = 0.001, 20, 80, 4, 2000.0, 4.0


def write_am_nnet3(out: ObjectWriter, network: Network) -> None:
    """Write a network with its context and priors, as final.mdl has it after the transition model.

    A pdf that was never seen gets the largest prior that the format can hold.

    Raises:
        ValueError: a network that nnet3 cannot hold.
    """
    write_nnet3(out, network)
    out.token("<LeftContext>")
    out.integer(network.spec.left_context)
    out.token("<RightContext>")
    out.integer(network.spec.right_context)
    out.token("<Priors>")
    largest = float(np.finfo(np.float32).max)
    out.reals(np.exp(np.minimum(network.log_prior.astype(np.float64), np.log(largest))).clip(max=largest))


def write_nnet3(out: ObjectWriter, network: Network) -> None:
    """Write a network, as a .raw file has it.

    Raises:
        ValueError: a network that nnet3 cannot hold.
    """
    steps = list(_steps(network))
    out.token("<Nnet3>")
    out.line("")
    out.line(f"input-node name=input dim={network.spec.frame_dim}")
    for step in steps:
        out.line(f"component-node name={step.name} component={step.name} input={step.source}")
    out.line(f"output-node name=output input={steps[-1].name} objective=linear")
    out.line("")
    out.token("<NumComponents>")
    out.integer(len(steps))
    out.line()
    for step in steps:
        out.token("<ComponentName>", step.name)
        step.write(out)
        out.line()
    out.token("</Nnet3>")


@dataclass(frozen=True, slots=True)
class _Step:
    """A component by its name, the descriptor of what it reads, and what writes it."""

    name: str
    source: str
    write: Callable[[ObjectWriter], None]


def _steps(network: Network) -> Iterator[_Step]:
    """Yield the components in order."""
    normalisation, source = network.normalisation, "input"
    if normalisation.mean is not None:
        shift = -np.array(normalisation.mean)
        yield _Step("shift", source, partial(_write_fixed, "FixedBiasComponent", "<Bias>", shift))
        source = "shift"
    scale = np.array(normalisation.scale)
    yield _Step("scale", source, partial(_write_fixed, "FixedScaleComponent", "<Scales>", scale))
    source = "scale"
    numbers: Counter[str] = Counter()  # of each kind of component
    for placed in network.spec.placed_components:
        if isinstance(placed.component, Splice):
            if "(" in source:
                raise ValueError("a splice of a splice: Kaldi's nnet3 format has none")
            source = _append(source, placed.component.offsets)
            continue
        name = f"{placed.component.kind}{numbers[placed.component.kind]}"
        numbers[placed.component.kind] += 1
        tensors = {name: tensor[0].numpy() for name, tensor in placed.views(network.net.parameters).items()}
        yield _Step(name, source, partial(_write_component, placed.component, placed.input_dim, tensors))
        source = name
    yield _Step("log-softmax", source, partial(_write_nonlinear, "LogSoftmaxComponent", network.spec.num_pdfs))


def _append(source: str, offsets: tuple[int, ...]) -> str:
    """Return the descriptor of a source at several points in time."""
    parts = [f"Offset({source}, {offset})" if offset else source for offset in offsets]
    return f"Append({', '.join(parts)})" if len(parts) > 1 else parts[0]


def _write_component(
    component: Component, input_dim: int, tensors: Mapping[str, np.ndarray], out: ObjectWriter
) -> None:
    if isinstance(component, Affine):
        _write_affine(tensors["weight"], tensors["bias"], out)
    elif isinstance(component, Pnorm):
        out.token("<PnormComponent>", "<InputDim>")
        out.integer(input_dim)
        out.token("<OutputDim>")
        out.integer(component.output_dim(input_dim))
        out.token("</PnormComponent>")
    elif isinstance(component, Renorm):
        out.token("<NormalizeComponent>", "<InputDim>")
        out.integer(input_dim)
        out.token("<TargetRms>")
        out.real(TARGET_RMS)
        out.token("<AddLogStddev>")
        out.boolean(False)
        out.token("</NormalizeComponent>")
    elif type(component) in NONLINEAR:
        _write_nonlinear(NONLINEAR[type(component)], input_dim, out)
    else:
        raise ValueError(f"component {component.kind}: Kaldi's nnet3 format has none like it")


def _write_affine(weight: np.ndarray, bias: np.ndarray, out: ObjectWriter) -> None:
    out.token("<NaturalGradientAffineComponent>", "<LearningRate>")
    out.real(LEARNING_RATE)
    out.token("<LinearParams>")
    out.matrix(weight)
    out.token("<BiasParams>")
    out.reals(bias)
    for name, number in (("<RankIn>", RANK_IN), ("<RankOut>", RANK_OUT), ("<UpdatePeriod>", UPDATE_PERIOD)):
        out.token(name)
        out.integer(number)
    for name, value in (("<NumSamplesHistory>", SAMPLES_HISTORY), ("<Alpha>", ALPHA)):
        out.token(name)
        out.real(value)
    out.token("</NaturalGradientAffineComponent>")


def _write_fixed(kind: str, name: str, values: np.ndarray, out: ObjectWriter) -> None:
    out.token(f"<{kind}>", name)
    out.reals(values)
    out.token(f"</{kind}>")


def _write_nonlinear(kind: str, dim: int, out: ObjectWriter) -> None:
    """Write a component without parameters, and the statistics of an untrained one."""
    out.token(f"<{kind}>", "<Dim>")
    out.integer(dim)
    for values, count in (("<ValueAvg>", None), ("<DerivAvg>", "<Count>"), ("<OderivRms>", "<OderivCount>")):
        out.token(values)
        out.reals(np.empty(0))
        if count is not None:
            out.token(count)
            out.real(0)
    for name in ("<NumDimsSelfRepaired>", "<NumDimsProcessed>"):
        out.token(name)
        out.real(0)
    out.token(f"</{kind}>")
