"""README and docs/: the two set-up commands, commands that parse, the table of algorithms, documented parameters."""

import argparse
import ast
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from asr_parallel import __version__
from asr_parallel.cli.main import VERBS, build_parser
from asr_parallel.cli.sort_options import DESTINATIONS, options_of

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")),
    *sorted(ROOT.glob("recipes/*/RESULTS.md")),
]  # fmt: skip


def code_lines(document: Path) -> Iterator[str]:
    """Yield the lines of indented and fenced code, continued lines joined, `NAME="..."` of shell variables replaced."""
    fenced, joined, variables = False, "", {}
    for line in document.read_text(encoding="utf-8").splitlines():
        if line.strip().startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            joined += line.strip()
            if joined.endswith("\\"):
                joined = joined[:-1]
                continue
            if match := re.fullmatch(r'([A-Z]+)="(.*)"', joined):
                variables[match[1]] = joined = match[2]
            for name, words in variables.items():
                joined = joined.replace(f"${name}", words)
            yield joined
            joined = ""


def commands(program: str) -> list[tuple[str, str]]:
    """Return (document, arguments) of every call of a program in the documents' code."""
    found = []
    for document in DOCUMENTS:
        if document.name == "extending.md":  # its algorithm is not there by itself
            continue
        for line in code_lines(document):
            before, name, words = line.partition(program)
            if name and not re.match(r"\w+\(|#|%|import |from ", line) and "#" not in before and "..." not in words:
                found.append((str(document.relative_to(ROOT)), words))
    return found


def test_readme_sets_up_with_exactly_two_commands() -> None:
    assert [line for line in code_lines(ROOT / "README.md") if line.startswith("./run.sh")] == [
        "./run.sh",
        "./run.sh test",
    ]


@pytest.mark.parametrize(("document", "words"), commands("asr-parallel "))
def test_commands_of_the_program_parse(document: str, words: str) -> None:
    given = shlex.split(words, comments=True)
    assert given[0] in VERBS or given[0].startswith("--")
    parser_of(given[0]).parse_args(given)  # exits where it does not know an option


@pytest.mark.parametrize(("document", "words"), commands("run.sh"))
def test_options_of_recipes_exist(document: str, words: str) -> None:
    given = shlex.split(words, comments=True)
    if given[:1] == ["test"]:
        return
    recipes = [
        path.read_text(encoding="utf-8") for path in (*ROOT.glob("recipes/*/run.sh"), ROOT / "recipes/common.sh")
    ]
    declared = set(re.findall(r"[a-z_]+", " ".join(re.findall(r"options\+?=\(([^)]*)\)", "\n".join(recipes)))))
    flags = {
        word.partition("=")[0][2:].replace("-", "_") for word in given if word.startswith("--") and " " not in word
    }
    passed_on = {flag[2:].replace("-", "_") for one in DESTINATIONS.values() for flag in options_of(one)}
    assert flags <= declared | {"recipe", "config", "help"} | passed_on


@cache
def parser_of(verb: str) -> argparse.ArgumentParser:
    """Return the parser of a command."""
    return build_parser(verb)


def test_algorithms_table_is_that_of_the_registry(monkeypatch: pytest.MonkeyPatch, package_algorithms: None) -> None:
    pytest.importorskip("mkdocs")
    monkeypatch.syspath_prepend(ROOT / "docs")
    import generate

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert generate.with_algorithms_table(readme, generate.algorithms_table()) == readme, "run python docs/generate.py"
    sys.modules.pop("generate")


def test_citation_names_this_version() -> None:
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def example(text: str) -> str:
    """Return the Python example of docs/extending.md in which a text is."""
    found = re.findall(r"```python\n(.*?)```", (ROOT / "docs/extending.md").read_text(encoding="utf-8"), re.DOTALL)
    (one,) = [code for code in found if text in code]
    return str(one)


def test_the_example_of_an_algorithm_trains(frames_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("asr_parallel.parallel.registry")
    plugin, out = tmp_path / "signed_mean.py", tmp_path / "net"
    plugin.write_text(example("class SignedMean"), encoding="utf-8")
    words = (
        f"train-dnn --frames {frames_folder} --out {out} --workers 4 --algorithm signed-mean --signed-step 0.002"
        " --hidden-layers 1 --hidden-dim 8 --minibatch 32 --epochs 1 --period 2 --threads 1"
    )
    done = subprocess.run(
        [sys.executable, "-m", "asr_parallel.cli.main", *words.split()],
        env={**os.environ, "ASR_PARALLEL_PLUGINS": str(plugin)}, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (out / "net.safetensors").is_file()


def test_the_example_of_an_optimizer_steps_by_the_sign(frames_folder: Path) -> None:
    optimizer = pytest.importorskip("asr_parallel.nnet.optimizer")
    from asr_parallel.nnet.architectures.dnn import dnn

    names = vars(optimizer).copy()
    exec(example("class SignMomentum"), names)
    network = optimizer.StackedNetwork(dnn(3, 0, 1, 4, 2), 2).initialise(1)
    before, x, labels = network.parameters.clone(), torch.randn(2, 8, 3), torch.randint(0, 2, (2, 8))
    signs = names["SignMomentum"](network, None, momentum=0.9)
    signs.step(network.backward(x, labels), 0.125)
    moved = network.parameters - before
    torch.testing.assert_close(moved, -0.125 * signs.state()["velocity"].sign())
    assert set(signs.state()) == {"skipped", "velocity"} and bool(moved.any())


def test_the_example_of_a_component_has_the_derivative_of_autograd() -> None:
    components = pytest.importorskip("asr_parallel.nnet.components")
    names = {"dataclass": dataclass, "torch": torch, "Tensor": torch.Tensor, **vars(components)}
    exec(example("class LeakyRelu"), names)
    component, x = names["LeakyRelu"](slope=0.1), torch.randn(2, 3, 4, requires_grad=True)
    output, saved = component.forward(x, None)
    derivative = torch.randn_like(output)
    expected = torch.autograd.grad(output, x, derivative)[0]
    torch.testing.assert_close(component.backward(derivative, saved, None), expected)
    assert components.component_from_json(component.to_json(), "net.json") == component
    components._kinds.pop("leaky-relu")


def test_the_example_of_a_hook_is_in_checkpoints(frames_folder: Path, tmp_path: Path) -> None:
    trainers = pytest.importorskip("asr_parallel.training.trainer")
    from asr_parallel.features.frames import FrameStore

    names = {**vars(trainers), "training_options": training_options_of_small_networks}
    names |= {"store": FrameStore.open(frames_folder), "work": tmp_path}
    exec(example("class SyncCounter"), names)
    trainer = names["trainer"]
    counted = trainer.parts["sync-counter"].count
    assert counted == trainer.number // trainer.algorithm.period > 0
    assert trainer.state_dict().part("sync-counter").values == {"count": counted}


def training_options_of_small_networks(**given: Any) -> Any:
    """Return options as the example gives them, of a network that trains at once."""
    from asr_parallel.training.train_options import training_options

    return training_options(**given, hidden_layers=1, hidden_dim=8, minibatch=32, precision="float32")


def test_the_example_of_an_option_is_one() -> None:
    options = pytest.importorskip("asr_parallel.record.options")
    names = {"option": options.option}
    exec(example("beam: float"), names)
    assert options.about(names["beam"]).above == 0 and names["beam"].default == 13.0


def test_the_example_of_readme_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("asr_parallel.parallel.registry")
    pytest.importorskip("asr_parallel.parallel.torch_module")
    monkeypatch.chdir(tmp_path)
    example = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert example is not None
    x, model = torch.randn(8, 3), torch.nn.Linear(3, 3)
    before = model.weight.detach().clone()
    exec(example[1], {"make_model": lambda: model, "minibatches": [(x, x.argmax(dim=1))] * 9})
    assert not torch.equal(model.weight, before)


@pytest.mark.parametrize("package", sorted(path.parent.name for path in ROOT.glob("asr_parallel/*/__init__.py")))
def test_documented_arguments_exist(package: str) -> None:
    unknown = []
    for path in (ROOT / "asr_parallel" / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                arguments = {a.arg for a in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]}
                arguments |= {a.arg for a in (node.args.vararg, node.args.kwarg) if a is not None}
                unknown += [f"{path.name}: {node.name}: {n}" for n in documented(node) if n not in arguments]
    assert not unknown


def documented(function: ast.FunctionDef) -> list[str]:
    """Return the names under "Args:" in a function's docstring, where a line may explain several."""
    section = re.search(r"^Args:\n(( .*\n|\n)*)", (ast.get_docstring(function) or "") + "\n", re.MULTILINE)
    if section is None:
        return []
    heads = re.findall(r"^    (\w+(?:, \w+)*):", section[1], re.MULTILINE)
    return [name for head in heads for name in head.split(", ")]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_to_files_resolve(document: Path) -> None:
    links = re.findall(r"\]\((?![a-z]+:|#)([^)\s#]+)", document.read_text(encoding="utf-8"))
    generated = {"api/parallel.md"}
    assert [link for link in links if link not in generated and not (document.parent / link).exists()] == []
