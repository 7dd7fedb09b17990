"""The command line: every verb explains itself, users' mistakes are one line and exit status 1."""

import os
import signal
import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest
from lhotse import AudioSource, Recording, RecordingSet, SupervisionSegment, SupervisionSet

from asr_parallel.cli.main import VERBS, build_parser, main
from asr_parallel.corpus.datadir import write_data


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        build_parser(verb).parse_args([verb, "--help"])
    assert stop.value.code == 0
    assert VERBS[verb][1] in " ".join(capsys.readouterr().out.split())


def test_help_lists_all_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    out = capsys.readouterr().out
    assert all(verb in out for verb in VERBS)


def test_an_unknown_option_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["lm", "--no-such"])
    assert stop.value.code == 2


def test_a_missing_input_is_one_line_and_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["make-features", "--data", str(tmp_path / "nowhere"), "--out", str(tmp_path / "feats")])
    err = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert status == 1 and len(err) == 1
    assert "nowhere: does not exist; run the stage that makes it first" in err[0]
    assert not (tmp_path / "feats").exists()


SLOW_VERB = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background job is started without
from pathlib import Path
from asr_parallel.cli import main as program
from asr_parallel.record.stage import run_stage

class slow:
    @staticmethod
    def add_arguments(parser): parser.add_argument("--out", type=Path)
    @staticmethod
    def option_groups(): return ()
    @staticmethod
    def run(args):
        def build(folder):
            (folder / "half").write_text("half")
            print("ready", flush=True)
            time.sleep(60)
        run_stage(args.out, build, number=0, inputs={}, options={})

sys.modules["slow_verb"] = slow
program.VERBS["slow"] = ("slow_verb", "sleeps")
sys.exit(program.main(["slow", "--out", sys.argv[1]]))
"""


@pytest.mark.timeout(60)
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_leaves_nothing_half_written(tmp_path: Path, sent: signal.Signals) -> None:
    command = [sys.executable, "-c", SLOW_VERB, str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.kill(process.pid, sent)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + sent
    assert err.splitlines()[-1] == "asr-parallel slow: interrupted; nothing half-written is left"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.timeout(60)
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    lexicon = tmp_path / "lexicon.txt"
    lexicon.write_text("".join(f"word{i} w ao r d\n" for i in range(5000)))
    data = tmp_path / "data"
    data.mkdir()
    (tmp_path / "a.wav").write_bytes(b"")
    source = AudioSource("file", [0], str(tmp_path / "a.wav"))
    recording = Recording("a", [source], sampling_rate=8000, num_samples=8000, duration=1.0)
    supervision = SupervisionSegment("a-1", "a", start=0.0, duration=1.0, channel=0, text="word1", speaker="a")
    write_data(data, RecordingSet.from_recordings([recording]), SupervisionSet.from_segments([supervision]))
    script = (
        "import resource, signal, sys; from asr_parallel.cli.main import main\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"  # so that writing fails as on a full disk, by an error
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10000, 10000))\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    words = ["lang", "--data", str(data), "--lexicon", str(lexicon), "--out", str(tmp_path / "lang")]
    done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, timeout=50)
    assert done.returncode == 1
    assert "error:" in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.wav", "data", "lexicon.txt"]


WRITING_VERB = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from asr_parallel.cli import main as program
from asr_parallel.hmm.gmm import DiagGmmSet
from asr_parallel.hmm.lang import build_lang
from asr_parallel.record.stage import run_stage

class writing:
    @staticmethod
    def add_arguments(parser): parser.add_argument("--out", type=Path)
    @staticmethod
    def option_groups(): return ()
    @staticmethod
    def run(args):
        def build(folder):
            if args.out.name == "array":
                np.save(folder / "a.npy", np.zeros(100_000))
            elif args.out.name == "gmm":
                DiagGmmSet.single(np.zeros((100, 39)), np.ones((100, 39))).save(folder)
            else:
                build_lang(folder, {f"w{n}": [(1.0, ("a",))] for n in range(200)} | {"<unk>": [(1.0, ("spn",))]})
        run_stage(args.out, build, number=0, inputs={}, options={})

sys.modules["writing_verb"] = writing
program.VERBS["writing"] = ("writing_verb", "writes")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10000, 10000))
sys.exit(max(program.main(["writing", "--out", out]) for out in sys.argv[1:]))
"""


@pytest.mark.timeout(60)
def test_a_full_disk_is_one_line_for_arrays_models_and_fsts_too(tmp_path: Path) -> None:
    outs = [str(tmp_path / name) for name in ("array", "gmm", "fst")]
    done = subprocess.run([sys.executable, "-c", WRITING_VERB, *outs], capture_output=True, text=True, timeout=50)
    errors = [line for line in done.stderr.splitlines() if line.startswith("asr-parallel writing: error: ")]
    assert done.returncode == 1 and len(errors) == 3 and "Traceback" not in done.stderr
    assert all("File too large" in error for error in errors) and ".fst: cannot be written" in errors[2]
    assert list(tmp_path.iterdir()) == []


def test_a_worker_that_was_killed_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def died(_: object) -> None:
        raise BrokenProcessPool("A process in the process pool was terminated abruptly")

    monkeypatch.setattr("asr_parallel.cli.results.run", died)
    assert main(["results", "--exp", "nowhere"]) == 1
    assert "a worker process died" in capsys.readouterr().err.splitlines()[-1]


def test_an_error_without_a_number_is_told_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def damaged(_: object) -> None:
        raise OSError("Not a gzipped file\n(b'xx')")

    monkeypatch.setattr("asr_parallel.cli.results.run", damaged)
    assert main(["results", "--exp", "nowhere"]) == 1
    assert capsys.readouterr().err == "asr-parallel results: error: Not a gzipped file (b'xx')\n"


OUT_OF_PLACE = {
    "the lexicon's": ["lang", "--data", "d", "--lexicon", "l", "--out"],
    "the digits'": ["prepare-digits", "--corpus", "c", "--out"],
    "the comparison's": ["compare", "--exp", "e", "--matrix", "m", "--out"],
    "the network's": ["train-dnn", "--frames", "f", "--out"],
    "the experiment's": ["compare", "--matrix", "m", "--out", "o", "--exp"],
    "the data's": ["make-features", "--out", "o", "--data"],
    "Kaldi's": ["import-kaldi", "--out", "o", "--from"],
    "the text's": ["lm", "--data", "d", "--lang", "l", "--out", "o", "--eval"],
    "the teacher's": ["train-dnn", "--frames", "f", "--out", "o", "--teacher"],
    "the speaker's": ["leave-speaker-out", "--data", "d", "--out", "o", "--speaker"],
}


@pytest.mark.parametrize("words", OUT_OF_PLACE.values(), ids=OUT_OF_PLACE)
def test_an_empty_word_for_a_value_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for given in ([*words, ""], [*words[:-1], f"{words[-1]}="]):
        assert main(given) == 1
        assert f"error: {words[-1]}: an empty word; expected a value" in capsys.readouterr().err


@pytest.mark.parametrize("words", list(OUT_OF_PLACE.values())[:5], ids=list(OUT_OF_PLACE)[:5])
def test_the_root_is_no_place_for_a_result(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for root in ("/", "//", "/.", "/tmp/.."):
        assert main([*words, root]) == 1
        [line] = capsys.readouterr().err.splitlines()
        assert line.startswith(f"asr-parallel {words[0]}: error: {words[-1]} /") and "the root of all folders" in line


@pytest.mark.parametrize("out", [".", "..", "deep/.."])
def test_the_current_folder_is_no_result(
    out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "here" / "deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    frames = ["--frames", str(tmp_path)]
    for words in (["synthesize"], ["train-dnn", *frames], ["train-dnn", *frames, "--processes", "2"],
                  ["pretrain-rbm", *frames]):  # fmt: skip
        assert main([*words, "--out", out]) == 1
        last = capsys.readouterr().err.splitlines()[-1]
        assert "expected the name of a folder to make" in last and f"error: {Path(out)}: the current folder" in last
    assert list((tmp_path / "here").iterdir()) == [tmp_path / "here" / "deep"]
