"""All files of a report."""

import struct
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import made_up
import pytest

from asr_parallel.report.comparison import Comparison
from asr_parallel.report.figures import DPI, WIDTH
from asr_parallel.report.write_report import write_report

PLOTS = (
    "bytes", "difference", "efficiency", "loss_frames", "loss_measured", "loss_modelled", "time_measured",
    "time_modelled", "wer_speedup_frames", "wer_speedup_loss",
)  # fmt: skip


@pytest.mark.usefixtures("pixels")
@pytest.mark.filterwarnings("error", "ignore::ResourceWarning")  # the latter are what other tests have left
def test_all_files_and_nothing_beside_them(tmp_path: Path) -> None:
    page = write_report(made_up.hostile(), tmp_path / "new" / "report")
    folder = tmp_path / "new" / "report"
    assert page == folder / "report.html"
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert names == sorted(
        ["RESULTS.md", "cells.csv", "comparison.json", "report.html", "summary.csv", "table.tex"]
        + [f"plots/{name}.{kind}" for name in PLOTS for kind in ("png", "svg")]
    )
    assert Comparison.open(folder / "comparison.json") == made_up.hostile()
    for name in PLOTS:
        picture = (folder / "plots" / f"{name}.png").read_bytes()
        assert picture.startswith(b"\x89PNG\r\n\x1a\n") and struct.unpack(">I", picture[16:20]) == (WIDTH * DPI,)
        ElementTree.parse(folder / "plots" / f"{name}.svg")


def test_nothing_is_written_of_what_does_not_fit(tmp_path: Path) -> None:
    bare = made_up.bare()
    object.__setattr__(bare, "title", 3)
    with pytest.raises(ValueError, match=r"comparison\.title: Expected `str`, got `int`"):
        write_report(bare, tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_no_global_state_is_used() -> None:
    code = (
        "import sys, matplotlib; before = matplotlib.rcParams.copy()\n"
        "import asr_parallel.report.write_report as w; from asr_parallel.report.figures import house_style\n"
        "with house_style(): pass\n"
        "sys.exit('matplotlib.pyplot' in sys.modules or before != matplotlib.rcParams)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
