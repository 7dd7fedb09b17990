"""Reader of networks in the format of Kaldi's nnet3 (Kaldi: src/nnet3/nnet-nnet.cc, nnet-descriptor.h).

A network that is one chain from the input to the output is read; other nodes, such as a second output, are left alone.
"""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from asr_parallel.hmm.kaldi.object_reader import ObjectReader
from asr_parallel.nnet.components import Pnorm, Relu, Renorm, Sigmoid, Splice, Tanh
from asr_parallel.nnet.kaldi.nnet3 import NONLINEAR
from asr_parallel.nnet.kaldi.parts import Linear, Part

NONLINEARITIES = {name: kind for kind, name in NONLINEAR.items()}
OUTPUT = "LogSoftmaxComponent"
CONTEXT = "<LeftContext>"  # begins what follows the network in a final.mdl
KINDS = (
    "NaturalGradientAffineComponent", "AffineComponent", "FixedAffineComponent", "FixedScaleComponent",
    "FixedBiasComponent", *NONLINEARITIES, "NormalizeComponent", "PnormComponent", OUTPUT,
)  # fmt: skip
VECTORS = ("<BiasParams>", "<Bias>", "<Scales>", "<ValueAvg>", "<DerivAvg>", "<OderivRms>")
INTEGERS = ("<Dim>", "<BlockDim>", "<InputDim>", "<OutputDim>", "<RankIn>", "<RankOut>", "<UpdatePeriod>")
REALS = (
    "<LearningRateFactor>", "<MaxChange>", "<L2Regularize>", "<LearningRate>", "<OrthonormalConstraint>",
    "<NumSamplesHistory>", "<Alpha>", "<MaxChangePerSample>", "<UpdateCount>", "<ActiveScalingCount>",
    "<MaxChangeScaleStats>", "<Count>", "<OderivCount>", "<NumDimsSelfRepaired>", "<NumDimsProcessed>",
    "<SelfRepairLowerThreshold>", "<SelfRepairUpperThreshold>", "<SelfRepairScale>", "<TargetRms>",
)  # fmt: skip
MATRICES = ("<LinearParams>",)
BOOLEANS = ("<IsGradient>", "<AddLogStddev>")
SETTING = re.compile(r"(\S+?)=(.*?)(?=\s+\S+=|$)")  # values may have spaces
WORD = re.compile(r"\s*([A-Za-z_][\w.-]*|-?\d+|\S)")


@dataclass(frozen=True)
class Nnet3:
    """A network: parts from the input to the posteriors. priors: of final.mdl; empty where it has none."""

    frame_dim: int
    parts: list[Part]
    priors: np.ndarray


@dataclass(frozen=True)
class _Block:
    """A component as it stands in the file: its kind, and its fields by their tokens."""

    kind: str
    fields: dict[str, Any]


def read_nnet3(reader: ObjectReader, of_model: bool = False) -> Nnet3:
    """Read a network, and the priors that follow it in a final.mdl, with `of_model`.

    Raises:
        ValueError: another format, truncated, or a network that is no chain of known components.
    """
    reader.expect("<Nnet3>")
    nodes = [_settings(line) for line in reader.lines()]
    reader.expect("<NumComponents>")
    blocks = {}
    for _ in range(reader.integer()):
        reader.expect("<ComponentName>")
        name = reader.token()
        blocks[name] = _read_block(reader)
    reader.expect("</Nnet3>")
    try:
        frame_dim, parts = _chain(nodes, blocks)
    except ValueError as error:
        reader.refuse(str(error))
    return Nnet3(frame_dim, parts, _read_priors(reader) if of_model or reader.peek() == CONTEXT else np.empty(0))


def _read_priors(reader: ObjectReader) -> np.ndarray:
    reader.expect(CONTEXT)
    reader.integer()
    reader.expect("<RightContext>")
    reader.integer()
    reader.expect("<Priors>")
    return reader.reals()


def _read_block(reader: ObjectReader) -> _Block:
    kind = reader.peek()[1:-1]
    if kind not in KINDS:
        reader.fail(f"a component of {', '.join(KINDS)}")
    reader.token()
    fields: dict[str, Any] = {}
    while (name := reader.peek()) != f"</{kind}>":
        if name not in (*VECTORS, *INTEGERS, *REALS, *MATRICES, *BOOLEANS):
            reader.fail(f"a field of {kind}, or its end")
        reader.token()
        if name in VECTORS:
            fields[name] = reader.reals()
        elif name in INTEGERS:
            fields[name] = reader.integer()
        elif name in MATRICES:
            fields[name] = reader.matrix()
        else:
            fields[name] = reader.boolean() if name in BOOLEANS else reader.real()
    reader.token()
    return _Block(kind, fields)


def _settings(line: str) -> dict[str, str]:
    """Return the settings of a line, and its first word as "kind"."""
    kind, _, rest = line.partition(" ")
    return {"kind": kind, **{name: value.strip() for name, value in SETTING.findall(rest)}}


def _chain(nodes: list[dict[str, str]], blocks: dict[str, _Block]) -> tuple[int, list[Part]]:
    """Follow the network from its output back to its input; return the features of a frame, and its parts in order."""
    by_name = {node["name"]: node for node in nodes if node["kind"] != "output-node" and "name" in node}
    outputs = [node for node in nodes if node["kind"] == "output-node" and node.get("name") == "output"]
    if len(outputs) != 1 or "input" not in outputs[0]:
        raise ValueError(f"{len(outputs)} nodes of the name output; expected one, with its input")
    steps: list[tuple[dict[str, str], tuple[int, ...]]] = []
    node = outputs[0]
    while node["kind"] != "input-node":
        if len(steps) > len(nodes):
            raise ValueError("a recurrent network; expected one without cycles")
        source, offsets = read_descriptor(node.get("input", ""))
        steps.append((node, offsets))
        if source not in by_name:
            raise ValueError(f"node {node['name']} reads {source}, which the network has not")
        node = by_name[source]
        if node["kind"] not in ("component-node", "input-node"):
            raise ValueError(f"a {node['kind']}, {source}; expected components alone")
    if node["name"] != "input" or not node.get("dim", "").isdecimal():
        raise ValueError(f"input {node['name']} of dim {node.get('dim')}; expected the node input, and a number")
    frame_dim = int(node["dim"])
    return frame_dim, _parts(steps[::-1], blocks, frame_dim)


def _parts(steps: list[tuple[dict[str, str], tuple[int, ...]]], blocks: dict[str, _Block], dim: int) -> list[Part]:
    """Return the parts of nodes and the offsets that each of them reads; the last node is the output."""
    parts: list[Part] = []
    last = ""
    for node, offsets in steps:
        if offsets != (0,):
            parts.append(Splice(offsets))
            dim *= len(offsets)
        if node["kind"] == "output-node":
            break
        name = node.get("component", "")
        if name not in blocks:
            raise ValueError(f"no component {name!r}, which node {node['name']} names")
        last = blocks[name].kind
        try:
            new = _make(blocks[name], dim)
        except ValueError as error:
            raise ValueError(f"component {name}: {error}") from error
        except KeyError as error:
            raise ValueError(f"component {name}: no {error.args[0]} in a {last}") from error
        for part in new:
            parts.append(part)
            dim = len(part.bias) if isinstance(part, Linear) else part.output_dim(dim)
    if last != OUTPUT or offsets != (0,):
        raise ValueError(f"the output comes from {last or 'the input'}; expected log posteriors, from {OUTPUT}")
    return parts


def _make(block: _Block, dim: int) -> list[Part]:
    """Return the parts of a component that gets `dim` inputs."""
    fields = block.fields
    if block.kind.endswith("AffineComponent"):
        trained = block.kind != "FixedAffineComponent"
        made: list[Part] = [Linear(fields["<LinearParams>"], fields["<BiasParams>"], trained)]
    elif block.kind == "FixedScaleComponent":
        made = [Linear.scale(fields["<Scales>"])]
    elif block.kind == "FixedBiasComponent":
        made = [Linear.shift(fields["<Bias>"])]
    else:
        own = fields["<Dim>"] if "<Dim>" in fields else fields["<InputDim>"]
        if own != dim:
            raise ValueError(f"a {block.kind} of {own} inputs; expected {dim}, as come before it")
        return _make_nonlinear(block, dim)
    assert isinstance(made[0], Linear)
    if made[0].input_dim != dim:
        raise ValueError(f"a {block.kind} of {made[0].input_dim} inputs; expected {dim}, as come before it")
    return made


def _make_nonlinear(block: _Block, dim: int) -> list[Part]:
    fields = block.fields
    if block.kind == OUTPUT:
        return []
    if block.kind in NONLINEARITIES:
        made: Sigmoid | Tanh | Relu = NONLINEARITIES[block.kind]()  # type: ignore[assignment]
        return [made]
    if block.kind == "PnormComponent":
        outputs = fields["<OutputDim>"]
        if outputs < 1 or dim % outputs:
            raise ValueError(f"a p-norm of {dim} inputs and {outputs} outputs; expected groups of equal size")
        return [Pnorm(dim // outputs)]
    if fields.get("<AddLogStddev>", False) or fields.get("<BlockDim>", dim) != dim:
        raise ValueError("a NormalizeComponent of blocks, or with the standard deviation; expected neither")
    rms = fields.get("<TargetRms>", 1.0)
    return [Renorm()] if rms == 1 else [Renorm(), Linear.scale(np.full(dim, rms))]


def read_descriptor(text: str) -> tuple[str, tuple[int, ...]]:
    """Return the node that a descriptor reads, and at which offsets; ValueError for other than Append and Offset."""
    words = WORD.findall(text)
    found = _terms(words)
    if found is None or words or len({node for node, _ in found}) != 1:
        raise ValueError(f"input={text}: expected one node, with Append and Offset alone")
    return found[0][0], tuple(offset for _, offset in found)


def _terms(words: list[str]) -> list[tuple[str, int]] | None:
    """Take a descriptor from the front of the words; None where it is of another form."""
    if not words or not (words[0][0].isalpha() or words[0][0] == "_"):
        return None
    name = words.pop(0)
    if words[:1] != ["("]:
        return [(name, 0)]
    words.pop(0)
    found = _terms(words)
    if name == "Append":
        while found is not None and words[:1] == [","]:
            words.pop(0)
            more = _terms(words)
            found = None if more is None else found + more
    elif name == "Offset" and found is not None and words[:1] == [","] and _is_integer(words[1:2]):
        found = [(node, offset + int(words[1])) for node, offset in found]
        del words[:2]
    else:
        return None
    if words[:1] != [")"]:
        return None
    words.pop(0)
    return found


def _is_integer(words: list[str]) -> bool:
    return bool(words) and words[0].lstrip("-").isdecimal()
