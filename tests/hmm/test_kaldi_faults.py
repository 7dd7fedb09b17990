"""Bad input of import-kaldi-ali: one clear line, and nothing half-written."""

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kaldi_files import CHAIN_TREE
from kaldi_world import ALI, World, run

from asr_parallel.cli.main import main
from asr_parallel.hmm.kaldi.alignment_writer import archive_bytes


def edit(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """Return a function that changes a file of the Kaldi user's folder."""

    def apply(kaldi: Path) -> None:
        (kaldi / name).write_bytes(change((kaldi / name).read_bytes()))

    return apply


def remove(name: str) -> Callable[[Path], None]:
    return lambda kaldi: (kaldi / name).unlink()


def align(entries: list[tuple[str, list[int]]]) -> Callable[[Path], None]:
    return edit(f"{ALI}/ali.1.gz", lambda _: gzip.compress(archive_bytes(entries, True)))


FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no features": (remove("data/train/feats.scp"), "no feats.scp; expected a Kaldi data directory: feats"),
    "no speakers": (remove("data/train/utt2spk"), "no utt2spk; expected a Kaldi data directory"),
    "no alignments": (lambda kaldi: [path.unlink() for path in (kaldi / ALI).glob("ali.*")], "no ali.*.gz; expected"),
    "a job's alignments missing": (remove(f"{ALI}/ali.2.gz"), "2 files ali.*.gz, but no ali.2.gz; num_jobs says 3"),
    "no model": (remove(f"{ALI}/final.mdl"), "no final.mdl; expected a folder with Kaldi's ali.*.gz"),
    "no tree": (remove(f"{ALI}/tree"), "no tree; expected a folder with Kaldi's ali.*.gz, final.mdl and tree"),
    "truncated model": (edit(f"{ALI}/final.mdl", lambda data: data[:200]), "final.mdl: byte "),
    "truncated tree": (edit(f"{ALI}/tree", lambda data: data[:200]), "tree: byte "),
    "tree and model swapped": (
        lambda kaldi: shutil.copyfile(kaldi / ALI / "tree", kaldi / ALI / "final.mdl"), "expected <TransitionModel>",
    ),
    "a tree of another model": (edit(f"{ALI}/tree", lambda _: CHAIN_TREE.encode()), "a tree of another model"),
    "truncated gzip": (edit(f"{ALI}/ali.1.gz", lambda data: data[:-40]), "ali.1.gz: truncated or not gzip"),
    "not gzip": (edit(f"{ALI}/ali.1.gz", gzip.decompress), "ali.1.gz: truncated or not gzip"),
    "truncated alignment": (
        edit(f"{ALI}/ali.1.gz", lambda data: gzip.compress(gzip.decompress(data)[:-9])), "is truncated:",
    ),
    "features for alignments": (
        edit(f"{ALI}/ali.1.gz", lambda _: gzip.compress(b"u \0BFM \x04\0\0\0\0")), "is not a vector of 32-bit integers",
    ),
    "an utterance aligned twice": (
        lambda kaldi: shutil.copyfile(kaldi / ALI / "ali.1.gz", kaldi / ALI / "ali.2.gz"), "s0-u00 is aligned twice",
    ),
    "transition ids beyond the model": (
        align([("s0-u00", [99999] * 46), ("s3-u03", [0] * 10)]),
        "of 20 utterances are bad, more than --max-bad-share 0.05 allows; the first: s0-u00: ",
    ),
    "alignments of other utterances": (
        lambda kaldi: [
            (kaldi / ALI / f"ali.{job}.gz").write_bytes(gzip.compress(f"v{job} 1 2 3\n".encode())) for job in (1, 2, 3)
        ],
        "data set tri4_ali: none of 23 utterances is usable; the first: v1: is aligned, but has no features",
    ),
    "most utterances not aligned": (
        align([]), "7 of 20 utterances are bad, more than --max-bad-share 0.05 allows; the first: s0-u00: no alignment",
    ),
    "truncated features": (
        edit("data/train/raw.ark", lambda data: data[: len(data) // 2]), "not a matrix, or truncated: Failed to read",
    ),
    "commands": (
        edit("data/train/feats.scp", lambda data: data.replace(b"raw.ark:7", b"raw.ark |")), "commands from data files",
    ),
    "relative paths of another folder": (
        edit("data/train/feats.scp", lambda _: b"s0-u00 mfcc/raw.ark:7\n"),
        "relative paths count from the working directory, as in Kaldi, or else from the scp file's folder",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_input_is_one_line_and_nothing_half_written(
    kaldi: Path, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    break_it, message = FAULTS[fault]
    break_it(kaldi)
    assert run(kaldi, kaldi / "out" / "frames") == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    assert len(errors) == 1 and errors[0].startswith("asr-parallel import-kaldi-ali: error: ") and message in errors[0]
    assert not (kaldi / "out").exists() or list((kaldi / "out").iterdir()) == []


def test_options_that_are_of_no_use_are_refused(world: World, kaldi: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = [
        "import-kaldi-ali",
        "--ali",
        str(kaldi / ALI),
        "--feats",
        str(world.folder / "feats"),
        "--out",
        str(kaldi / "x"),
    ]
    assert main([*line, "--cmvn", "mean"]) == 1
    assert "--cmvn is of no use to the features of --feats" in capsys.readouterr().err
    assert run(kaldi, kaldi / "x", "--norm-vars", "--cmvn", "mean") == 1
    assert "--norm-vars is of no use to features that" in capsys.readouterr().err
    assert run(kaldi, kaldi / "x", "--length-tolerance", "-1") == 1
    assert "length_tolerance -1: expected a whole number of at least 0" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(line[:3] + line[5:])  # neither --data nor --feats
