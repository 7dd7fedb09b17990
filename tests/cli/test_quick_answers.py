"""Help and the refusal of wrong options come before torch, whose import takes seconds."""

import subprocess
import sys

WITHOUT = """
import contextlib, io, sys
from asr_parallel.cli.main import VERBS, main

def status(*words):
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
        try:
            found = main(words)
        except SystemExit as stop:
            found = stop.code
    slow = {"torch", "numba", "matplotlib"} & sys.modules.keys()
    assert not slow, f"{words}: imported {slow}"
    return found, out.getvalue()

for verb in VERBS:
    found, said = status(verb, "--help")
    assert found == 0 and "--verbose" in said, said
files = ["--frames", "nowhere", "--out", "nowhere/out"]
for words, expected, why in (
    (["train-dnn", *files, "--no-such"], 2, "--no-such"),
    (["train-dnn", *files, "--algorithm", "no-such"], 2, "invalid choice: 'no-such'"),
    (["train-dnn", *files, "--epochs", "0"], 1, "epochs 0"),
    (["train-dnn", *files, "--algorithm", "elastic", "--elastic-beta", "0"], 1, "elastic_beta 0.0"),
    (["train-dnn", *files, "--algorithm", "average", "--elastic-beta", "1"], 1, "only to async-elastic, elastic"),
    (["train-dnn", *files, "--algorithm", "ensemble", "--combine", "2"], 1, "combine 2"),
    (["train-dnn", *files, "--architecture", "tdnn", "--splice-indexes", "x"], 1, "splice_indexes 'x'"),
    (["train-dnn", *files, "--algorithm", "downpour", "--sim-jitter", "1", "--processes", "2"], 1, "sim_jitter 1.0"),
    (["pretrain-rbm", *files, "--momentum-min", "0.95"], 1, "momentum_min 0.95"),
    (["pretrain-rbm", *files, "--algorithm", "ensemble"], 1, "algorithm ensemble"),
    (["predict", "--workers", "0"], 1, "--workers 0"),
    (["predict", "--workers", "2", "--pdfs", "0"], 1, "pdfs 0"),
    (["predict", "--workers", "2", "--algorithm", "downpour", "--sim-jitter", "1"], 1, "expected --jitter"),
):
    found, said = status(*words)
    assert (found, why in said) == (expected, True), (words, found, said)
"""


def test_no_verb_imports_torch_for_help_or_to_refuse_options() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_reports_need_no_torch() -> None:
    code = "import sys, asr_parallel.report.write_report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
