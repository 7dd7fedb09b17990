"""asr-parallel predict, from the command line to its tables."""

import pytest

from asr_parallel.cli.main import main
from asr_parallel.nnet.architectures import make_network

GIVEN = "--step-seconds 0.1"


def predicted(words: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["predict", *words.split()]) == 0
    return capsys.readouterr().out


def rows(text: str, heading: str) -> list[dict[str, str]]:
    """Of the table whose heading begins so."""
    table = next(part for part in text.split("\n\n") if part.startswith(heading)).splitlines()
    names, *lines = ([cell.strip() for cell in line.strip("|").split("|")] for line in table)
    assert all(len(cells) == len(names) for cells in lines)
    return [dict(zip(names, cells, strict=True)) for cells in lines[1:]]


def test_every_algorithm_and_number_of_workers(capsys: pytest.CaptureFixture[str], package_algorithms: None) -> None:
    text = predicted(f"--workers 16,32,64,256,1024 --network ib100 {GIVEN}", capsys)
    table = rows(text, "| algorithm | workers")
    names = ["average", "block-momentum", "colearn", "elastic", "gradient", "ensemble"]
    names += ["adownpour", "async-elastic", "downpour", "mdownpour", "mvadownpour"]
    assert [(row["algorithm"], int(row["workers"])) for row in table] == [
        (name, workers) for name in names for workers in (16, 32, 64, 256, 1024)
    ]
    for row in table:
        assert 0 < float(row["modelled speedup"]) <= float(row["modelled peak"]) <= int(row["workers"])
        shares = [float(row[f"modelled {part}"].strip(" %")) for part in ("compute", "wait", "exchange", "label")]
        assert sum(shares) == pytest.approx(100, abs=0.21)
    assert all(name.startswith("modelled ") for name in list(table[0])[2:])
    assert "alpha 1.05 us" in text and "EDR InfiniBand" in text and "given" in text
    limits = {row["algorithm"]: row for row in rows(text, "| algorithm | modelled: pays up to")}
    assert limits["ensemble"]["modelled: pays up to"] == "64" and limits["gradient"]["K = 16"] == "no period"
    assert int(limits["average"]["K = 16"]) == 1


def test_published_speedups_stand_beside_and_are_not_ours(capsys: pytest.CaptureFixture[str]) -> None:
    text = predicted(f"--workers 2 --algorithm average {GIVEN}", capsys)
    published = rows(text, "| published (not ours)")
    assert [(row["GPUs"], row["published speedup"], row["published peak"]) for row in published] == [
        ("16", "9.3", "-"), ("32", "17", "-"), ("64", "43.65", "54"),
    ]  # fmt: skip
    assert all(row["source"] for row in published)
    assert not any("published" in name for name in rows(text, "| algorithm | workers")[0])


def test_a_network_of_ones_own_and_options_of_algorithms(capsys: pytest.CaptureFixture[str]) -> None:
    def speedup(more: str) -> float:
        text = predicted(f"--workers 16 {GIVEN} {more}", capsys)
        return float(rows(text, "| algorithm | workers")[0]["modelled speedup"])

    slow = "--algorithm average --network wan"
    assert speedup(f"{slow} --period 1") < speedup(slow) < speedup(f"{slow} --period 256") < 16
    assert speedup(slow) < speedup(f"{slow} --overlap")
    assert speedup(f"{slow} --alpha 0 --beta 1e15") == 16 > speedup(f"{slow} --alpha 0 --beta 1e15 --jitter 0.5")
    assert speedup(f"{slow} --collective server") < speedup(slow)
    ensemble = "--algorithm ensemble --relabel-fraction"
    assert speedup(f"{ensemble} 0.5") < speedup(f"{ensemble} 0.01")
    assert speedup(f"{ensemble} 0.1") < speedup(f"{ensemble} 0.1 --exchange posteriors")


def test_periods_that_follow_the_learning_rate(capsys: pytest.CaptureFixture[str]) -> None:
    def speedup(more: str) -> float:
        text = predicted(f"--workers 16 --algorithm average --network wan {GIVEN} {more}", capsys)
        return float(rows(text, "| algorithm | workers")[0]["modelled speedup"])

    rate = "--qsr-alpha 1 --learning-rate 1e-4 --period 1"  # 16 x 512 frames: 0.82, and 0.082 at the end
    assert speedup("--period 1") < speedup(rate) < speedup("--period 149")
    assert speedup(rate) < speedup(f"{rate} --final-learning-rate 1e-6")
    assert speedup(f"{rate} --schedule constant") == speedup("--period 1")
    everything = predicted(f"--workers 2 {GIVEN} --qsr-alpha 1", capsys)  # those without periods go without it
    assert "| gradient | 2 |" in everything


def test_a_synchronous_part_at_the_beginning(capsys: pytest.CaptureFixture[str]) -> None:
    def seconds_a_frame(more: str) -> float:
        text = predicted(f"--workers 16 --algorithm average --network wan {GIVEN} {more}", capsys)
        return 1 / float(rows(text, "| algorithm | workers")[0]["modelled speedup"])

    quarter = seconds_a_frame("--sync-first 0.25")
    mixed = 0.25 * seconds_a_frame("--period 1") + 0.75 * seconds_a_frame("")
    assert quarter == pytest.approx(mixed, rel=0.02)  # speedups are printed rounded
    everything = predicted(f"--workers 2 {GIVEN} --sync-first 0.25", capsys)
    assert "| gradient | 2 |" in everything


def test_where_data_end(capsys: pytest.CaptureFixture[str]) -> None:
    text = predicted(f"--workers 2,64 --frames 10000 --algorithm average {GIVEN}", capsys)
    few, many = rows(text, "| algorithm | workers")
    assert float(few["modelled speedup"]) > 1 and many["modelled speedup"] == "too little data"
    assert rows(text, "| algorithm | modelled: pays")[0]["modelled: pays up to"].endswith("(then data end)")


def test_a_minibatch_is_timed_here(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = "--hidden-layers 1 --hidden-dim 8 --input-dim 6 --pdfs 3 --minibatch 4 --device cpu --precision float32"
    text = predicted(f"--workers 2 {sizes} --algorithm elastic --algorithm gradient", capsys)
    assert "measured here, ng-sgd, float32 on cpu, 1 thread(s)" in text
    assert [row["algorithm"] for row in rows(text, "| algorithm | workers")] == ["elastic", "gradient"]


def test_another_architecture_with_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--architecture", "tdnn", "--context", "4", "--input-dim", "360", "--hidden-dim", "64", "--pdfs", "100"]
    spliced = [*given, "--splice-indexes", "-2,-1,0,1,2 -2,2"]
    assert main(["predict", "--workers", "16", "--algorithm", "average", *GIVEN.split(), *spliced]) == 0
    sizes = {"splice_indexes": "-2,-1,0,1,2 -2,2", "hidden_dim": 64}
    network = make_network("tdnn", sizes, frame_dim=40, context=4, num_pdfs=100)
    assert f"; {network.num_parameters:,} parameters" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--workers 0", "--workers 0: expected whole numbers of at least 1"),
        ("--workers 4,many", "--workers 4,many: expected"),
        ("--workers 4,", "--workers 4,: expected"),
        ("--workers 4 --period 0", "period 0: expected"),
        ("--workers 4 --algorithm gradient --period 4", "period 4 is of no use to algorithm gradient"),
        ("--workers 4 --algorithm mdownpour --period 4", "period 4 is of no use to algorithm mdownpour"),
        ("--workers 4 --sim-latency 1", "sim_latency 1.0: is for training; expected --alpha"),
        ("--workers 4 --jitter -1", "jitter -1.0: expected a number of at least 0"),
        ("--workers 4 --beta 0", "beta 0.0: expected a number above 0"),
        ("--workers 4 --alpha -1", "alpha -1.0: expected a number of at least 0"),
        ("--workers 4 --step-seconds 0", "step_seconds 0.0: expected a number above 0"),
        ("--workers 4 --step-seconds nan", "step_seconds nan: expected a number above 0"),
        ("--workers 4 --frames 0", "frames 0: expected a whole number of at least 1"),
        ("--workers 4 --minibatch 0", "minibatch 0: expected a whole number of at least 1"),
        ("--workers 4 --architecture tdnn", "context 0: the network sees 13 frames before and 9 after"),
        ("--workers 4 --architecture tdnn --context 13", "input_dim 440: expected a multiple of 27"),
        ("--workers 4 --splice-indexes 0", "splice_indexes '0' is of no use to architecture dnn, only to tdnn"),
        ("--workers 4 --learning-rate 0.1", "learning_rate 0.1: changes no time without qsr_alpha"),
        ("--workers 4 --algorithm gradient --qsr-alpha 1", "qsr_alpha 1.0 is of no use to algorithm gradient"),
        ("--workers 4 --algorithm average --qsr-alpha 1 --schedule newbob", "qsr_alpha 1: the rates of newbob"),
        ("--workers 4 --pdfs 0", "pdfs 0: expected a whole number of at least 1"),
        ("--workers 4 --relabel-fraction 2", "relabel_fraction 2.0: expected a number above 0 and at most 1"),
    ],
)
def test_bad_input_is_one_line(words: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    given = words if "--step-seconds" in words else f"{words} {GIVEN}"
    assert main(["predict", *given.split()]) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and told in captured.err


def test_an_unknown_network_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["predict", "--workers", "2", "--network", "string"])
    assert "invalid choice: 'string'" in capsys.readouterr().err
