"""Running recipes with small models, recipes/swbd/run.sh unless another is named."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "swbd" / "run.sh"
MAX_ACTIVE = 300  # tokens of a frame, so that decoding by networks that have learnt little is quick
SIZES = {
    "mono-num-gauss": 80, "tri-leaves": 50, "tri-num-gauss": 100, "hidden-dim": 32, "hidden-layers": 2, "jobs": 2,
    "max-active": MAX_ACTIVE,
}  # fmt: skip
SMALL = [word for name, size in SIZES.items() for word in (f"--{name}", str(size))]
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
Run = Callable[..., subprocess.CompletedProcess[str]]
Verbs = Callable[..., list[list[str]]]


def run_really(*words: str, recipe: Path = RECIPE, **environment: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PATH": PATH} | environment
    return subprocess.run([str(recipe), *SMALL, *words], capture_output=True, text=True, timeout=280, env=env)


def discs(tree: Path) -> list[str]:
    return [
        *("--audio", str(tree / "LDC97S62"), "--transcripts", str(tree / "swb_ms98_transcriptions")),
        *("--eval-audio", str(tree / "LDC2002S09"), "--eval-transcripts", str(tree / "LDC2002T43")),
    ]
