"""recipes/common.sh: options as a Kaldi user expects them."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

COMMON = Path(__file__).resolve().parents[2] / "recipes" / "common.sh"

RECIPE = """#!/usr/bin/env bash
. {common}
stage=0
stop_stage=8
use_noise=false
corpus=
hidden_dim=512
exp=exp
destinations=()
options=(stage stop_stage use_noise corpus hidden_dim exp)
usage() {{ echo "Usage: toy/run.sh [options]"; echo " e.g.: toy/run.sh --stage 2"; }}
stage_2() {{ echo "two with '$corpus' $use_noise $hidden_dim"; }}
stage_4() {{ echo "four"; }}
unset -f stage_3 stage_5 stage_6 stage_7 stage_8  # the shared ones
parse_options "$@"
run_stages
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "run.sh"
    path.write_text(RECIPE.format(common=COMMON))
    return path


def run(recipe: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", str(recipe), *words], capture_output=True, text=True, timeout=60)


def test_stages_from_and_to(recipe: Path) -> None:
    assert run(recipe).stdout == "two with '' false 512\nfour\n"
    assert run(recipe, "--stage", "3").stdout == "four\n"
    assert run(recipe, "--stage", "2", "--stop-stage", "2").stdout == "two with '' false 512\n"


def test_a_stage_that_the_recipe_has_not_says_so(recipe: Path) -> None:
    done = run(recipe, "--stage", "5", "--stop-stage", "5")
    assert done.returncode == 0 and "stage 5: this recipe has none" in done.stderr


def test_values_keep_spaces_and_shell_characters(recipe: Path) -> None:
    assert "two with 'a b; $(touch x)'" in run(recipe, "--corpus", "a b; $(touch x)").stdout


def test_help_prints_usage_with_an_example(recipe: Path) -> None:
    done = run(recipe, "--stage", "1", "--help")
    assert done.returncode == 0 and "e.g.:" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--no-such", "1"], "unknown option --no-such"),
        (["--usage", "1"], "unknown option --usage"),
        (["--PATH", "/tmp"], "unknown option --PATH"),
        (["--epochs", "2"], "--epochs is an option of train-dnn, which has no part in this run"),
        (["--use-noise", "maybe"], "--use-noise must be true or false, not 'maybe'"),
        (["--hidden-dim", "big"], "--hidden-dim must be a whole number, not 'big'"),
        (["--stage=3"], "write '--stage 3', not '--stage=3'"),
        (["--stage"], "--stage needs a value"),
        (["train"], "unexpected argument 'train'"),
        (["--stage", "5", "--stop-stage", "4"], "expected 0 <= stage <= stop stage"),
        *((["--exp", word], f"--exp '{word}': expected the name of a folder") for word in ("", "/", "//", "/..")),
        (["--config", "nowhere.yaml"], "no configuration file 'nowhere.yaml'"),
    ],
)
def test_bad_usage_is_one_line_and_status_1(recipe: Path, words: list[str], message: str) -> None:
    done = run(recipe, *words)
    assert done.returncode == 1 and done.stdout == ""
    assert message in done.stderr and done.stderr.count("\n") == 1


def test_a_configuration_file_has_the_lower_priority_and_is_never_run(recipe: Path, tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("# tuned\nhidden-dim: 256  # small\nuse_noise: true\ncorpus: $(touch ran) /a b\n")
    assert run(recipe, "--config", str(config), "--stop-stage", "2").stdout == "two with '$(touch ran) /a b' true 256\n"
    assert run(recipe, "--hidden-dim", "64", "--config", str(config), "--stop-stage", "2").stdout.endswith("64\n")
    assert not (tmp_path / "ran").exists() and not Path("ran").exists()


@pytest.mark.parametrize("line", ["hidden_dim 256", "rm -rf x", "unknown: 1", "use_noise: 1"])
def test_a_bad_configuration_line_dies(recipe: Path, tmp_path: Path, line: str) -> None:
    (tmp_path / "c.yaml").write_text(line + "\n")
    done = run(recipe, "--config", str(tmp_path / "c.yaml"))
    assert done.returncode == 1 and done.stderr.count("\n") == 1


def test_a_configuration_file_of_windows(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_bytes("\ufeffhidden-dim: 256\r\ncorpus: a b\r\n".encode())
    assert run(recipe, "--config", str(tmp_path / "c.yaml"), "--stop-stage", "2").stdout == "two with 'a b' false 256\n"


@pytest.mark.parametrize(
    ("arpa", "source"), [("", "--data E/data/train --order 3"), ("own lm.arpa.gz", "--arpa own lm.arpa.gz")]
)
def test_a_language_model_made_elsewhere_replaces_the_trained_one(tmp_path: Path, arpa: str, source: str) -> None:
    recipe = tmp_path / "run.sh"
    lines = [f". {COMMON}", 'run() { echo "$@"; }', f"exp=E; arpa='{arpa}'", "language_model --order 3"]
    recipe.write_text("\n".join(lines))
    done = run(recipe)
    assert done.stdout == f"lm {source} --lang E/lang --eval E/data/dev --eval E/data/eval --out E/lm\n"


@pytest.mark.parametrize("recipe_name", ["swbd", "digits"])
def test_a_language_model_that_is_not_there_is_named_at_once(recipe_name: str, tmp_path: Path) -> None:
    done = run(COMMON.parent / recipe_name / "run.sh", "--arpa", "nowhere.arpa", "--exp", str(tmp_path / "exp"))
    assert done.returncode == 1 and "--arpa: no file 'nowhere.arpa'" in done.stderr and done.stderr.count("\n") == 1


VERB = """#!/usr/bin/env python3
import os, signal, sys, time
from pathlib import Path
def stop(number, _):
    Path("stopped").write_text(str(number))
    sys.exit(128 + number)
assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, stop)
assert int(os.environ["ASR_PARALLEL_PARENT"]) == os.getppid()
Path("pid.partial").write_text(str(os.getpid()))
os.rename("pid.partial", "pid")
while True:
    time.sleep(0.05)
"""


def with_verb(tmp_path: Path, verb: str) -> subprocess.Popen[bytes]:
    """The recipe of a stage with one verb, a stand-in, once that runs."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "asr-parallel").write_text(verb)
    (tmp_path / "bin" / "asr-parallel").chmod(0o755)
    text = RECIPE.format(common=COMMON).replace('echo "four"', 'run train-dnn --out x; echo "after" > after')
    (tmp_path / "run.sh").write_text(text.replace("parse_options", f"PATH={tmp_path}/bin:$PATH\nparse_options"))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    try:
        return subprocess.Popen(
            ["bash", "run.sh", "--stage", "4", "--stop-stage", "4"], cwd=tmp_path, start_new_session=True
        )
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("to_all", [False, True], ids=["script", "terminal"])
def test_who_ends_the_script_ends_the_verb(tmp_path: Path, sent: signal.Signals, to_all: bool) -> None:
    running = with_verb(tmp_path, VERB.replace("(signal.SIGINT,", "(signal.SIGHUP, signal.SIGINT,"))
    while not (tmp_path / "pid").exists():  # the test's time limit ends it
        time.sleep(0.02)
    if to_all:
        os.killpg(running.pid, sent)
    else:
        running.send_signal(sent)
    assert running.wait(30) > 128
    assert (tmp_path / "stopped").exists() and not (tmp_path / "after").exists()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_verb_that_fails_ends_the_script_with_its_status(tmp_path: Path) -> None:
    assert with_verb(tmp_path, "#!/bin/sh\nexit 3\n").wait(30) == 3
    assert not (tmp_path / "after").exists()


def test_a_verb_that_is_done_is_followed_by_the_next(tmp_path: Path) -> None:
    assert with_verb(tmp_path, "#!/bin/sh\nexit 0\n").wait(30) == 0
    assert (tmp_path / "after").exists()
