"""Files that Kaldi wrote, cut short anywhere or mixed up: one line that names the file, or the same contents."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from kaldi_golden import GOLDEN, matrices

from asr_parallel.cli.main import main
from asr_parallel.features.archive import FeatureArchive, write_archive
from asr_parallel.features.frames import FrameStore
from asr_parallel.hmm.const_fst import read_graph
from asr_parallel.hmm.kaldi.alignments import read_alignments
from asr_parallel.hmm.kaldi.gmm_reader import read_gmm
from asr_parallel.hmm.kaldi.object_reader import ObjectReader
from asr_parallel.hmm.kaldi.transition_model import KaldiTransitionModel
from asr_parallel.hmm.kaldi.tree import KaldiTree
from asr_parallel.nnet.kaldi.import_network import KaldiNetwork
from asr_parallel.record.files import write_json


def gaussians(path: Path) -> None:
    reader = ObjectReader(path)
    KaldiTransitionModel.begin(reader, path)
    read_gmm(reader)


def network(path: Path) -> None:
    KaldiNetwork.read(path, None, None)


READERS: dict[str, Callable[[Path], object]] = {
    "tri/tree": KaldiTree.read,
    "tri_text/tree": KaldiTree.read,
    "tri/final.mdl": gaussians,
    "tri_text/final.mdl": gaussians,
    "tri/ali.1.gz": lambda path: list(read_alignments(path)),
    "graph/HCLG.fst": read_graph,
    "nnet1/final.nnet": network,
    "nnet1/final.feature_transform": network,
    "nnet1_relu/final.nnet": network,
    "nnet3/final.raw": network,
    "nnet3/final.mdl": network,
    "nnet3/text/final.mdl": network,
}


@pytest.mark.parametrize("name", READERS)
def test_a_file_cut_short_anywhere_is_one_line_that_names_it(tmp_path: Path, name: str) -> None:
    data, path = (GOLDEN / name).read_bytes(), tmp_path / Path(name).name
    last = len(data.rstrip()) - 1
    ends = [*range(0, last, max(1, len(data) // 200)), last]
    if b"<LeftContext>" in data:  # after the network of a model with priors
        ends += [data.index(b"<LeftContext>") + n for n in (0, 5)]
    for end in ends:
        path.write_bytes(data[:end])
        with pytest.raises(ValueError, match=path.name) as caught:
            READERS[name](path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", [2, 3, 5])
def test_compressed_features_cut_short_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], method: int
) -> None:
    pytest.importorskip("kaldi_native_io")
    data = (GOLDEN / "compressed" / f"{method}.ark").read_bytes()
    (tmp_path / "feats.scp").write_bytes((GOLDEN / "compressed" / f"{method}.scp").read_bytes())
    (tmp_path / "utt2spk").write_bytes((GOLDEN / "data" / "utt2spk").read_bytes())
    for damaged in (data[:-1], data[: len(data) // 2 + 20], data.replace(b"\0BCM", b"\0BCN")):
        (tmp_path / f"{method}.ark").write_bytes(damaged)
        assert main(["import-kaldi-feats", "--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
        (line,) = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
        assert f"{method}.ark:" in line and "not a matrix, or truncated" in line and not (tmp_path / "out").exists()


def test_an_archive_may_mix_kinds_of_matrices(tmp_path: Path) -> None:
    pytest.importorskip("kaldi_native_io")
    data, scp, expected = bytearray(), [], {}
    plain = next(iter(matrices("data/feats.ark").items()))
    for method in (2, 3, 5):
        added = (GOLDEN / "compressed" / f"{method}.ark").read_bytes()
        key, matrix = next(iter(matrices(f"compressed/{method}.plain.ark").items()))
        name = f"s0-{method}"
        scp.append(f"{name} {tmp_path}/feats.ark:{len(data) + len(key) + 1}")
        expected[name] = matrix
        data += added
    key, matrix = plain
    scp.append(f"s1-text {tmp_path}/feats.ark:{len(data) + len(key) + 1}")
    rows = "\n".join(" ".join(f"{x:.9g}" for x in row) for row in matrix)
    data += f"{key}  [\n{rows} ]\n".encode()
    expected["s1-text"] = matrix
    (tmp_path / "feats.ark").write_bytes(data)
    (tmp_path / "feats.scp").write_text("\n".join(scp) + "\n", encoding="utf-8")
    (tmp_path / "utt2spk").write_text("".join(f"{name} {name[:2]}\n" for name in expected), encoding="utf-8")
    assert main(["import-kaldi-feats", "--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    archive = FeatureArchive.open(tmp_path / "out")
    for n, matrix in enumerate(expected.values()):
        np.testing.assert_allclose(archive[n], matrix, atol=1e-5)


@pytest.mark.parametrize(("model", "tree"), [("tri", "mono"), ("mono", "tri_text")])
def test_a_tree_of_another_model_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], model: str, tree: str
) -> None:
    (tmp_path / "system").mkdir()
    for name, folder in (("final.mdl", model), ("tree", tree)):
        (tmp_path / "system" / name).write_bytes((GOLDEN / folder / name).read_bytes())
    assert main(["import-kaldi-gmm", "--system", str(tmp_path / "system"), "--out", str(tmp_path / "out")]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    assert line.endswith("a tree of another model") and not (tmp_path / "out").exists()


def test_a_graph_of_another_model_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--hclg", str(GOLDEN / "graph" / "HCLG.fst"), "--model", str(GOLDEN / "mono" / "final.mdl")]
    assert main(["import-kaldi-graph", *words, "--out", str(tmp_path / "out")]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    assert "HCLG.fst: " in line and not (tmp_path / "out").exists()


def test_features_and_alignments_of_other_lengths_are_left_out_or_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first utterance lacks 5 frames, more than the tolerance."""
    (tmp_path / "feats").mkdir()
    features = matrices("data/feats.ark")
    cut = {key: matrix[5 * (n == 0) :] for n, (key, matrix) in enumerate(features.items())}
    write_archive(tmp_path / "feats", [(key, key[:2], matrix) for key, matrix in cut.items()])
    write_json(tmp_path / "feats" / "kind.json", {"kind": "fbank"})
    words = ["import-kaldi-ali", "--feats", str(tmp_path / "feats"), "--ali", str(GOLDEN / "tri")]
    assert main([*words, "--out", str(tmp_path / "out")]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    first, frames = next(iter(features)), len(next(iter(features.values())))
    assert f"{first}: {frames - 5} frames of features, {frames} of alignment; --length-tolerance is 4" in line
    assert main([*words, "--out", str(tmp_path / "out"), "--max-bad-share", "0.1"]) == 0
    assert sorted(FrameStore.open(tmp_path / "out").ids) == sorted(key for key in features if key != first)
