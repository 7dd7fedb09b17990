"""train-mono, train-tri, align and ctm from folder to folder."""

import json

import numpy as np
import pytest
from lhotse import AudioSource, Recording, SupervisionSegment

from asr_parallel.cli.main import main
from asr_parallel.corpus.datadir import write_data
from asr_parallel.corpus.lexicon import add_noise_words
from asr_parallel.corpus.nist_files import read_ctm
from asr_parallel.decode.acoustic import open_acoustic_model
from asr_parallel.features.archive import FeatureArchive, write_archive
from asr_parallel.hmm.alignment import AlignmentSet
from asr_parallel.hmm.gmm import DiagGmmSet
from asr_parallel.hmm.lang import build_lang
from asr_parallel.hmm.topology import Topology
from asr_parallel.hmm.transitions import TransitionModel
from asr_parallel.hmm.tree import monophone_tree
from asr_parallel.hmm.tri_sizes import sizes_by_data

LEXICON = {"go": [(1.0, ("g", "ow"))], "oh": [(1.0, ("ow",))], "hug": [(1.0, ("hh", "ah", "g"))]}
STATES_OF_PHONE = 3
FRAMES_OF_STATE = (4, 8)


@pytest.fixture(scope="module")
def exp(tmp_path_factory):
    """Data, features and lang of an invented little corpus, in a folder with a space in its name."""
    exp = tmp_path_factory.mktemp("an exp")
    rng = np.random.default_rng(0)
    means = {(p, s): rng.normal(0, 8, 4) for p in ("sil", "g", "ow", "hh", "ah") for s in range(STATES_OF_PHONE)}
    recordings, supervisions, features = [], [], []
    for u in range(40):
        name, speaker = f"s{u % 2}-u{u:02d}", f"s{u % 2}"
        words = rng.choice(list(LEXICON), size=rng.integers(1, 4)).tolist()
        phones = []
        for word in words:
            phones += ["sil"] * rng.integers(2) + list(LEXICON[word][0][1])
        rows = [
            means[phone, 0 if phone == "sil" else state] + rng.normal(size=4)
            for phone in phones
            for state in range(STATES_OF_PHONE)
            for _ in range(rng.integers(*FRAMES_OF_STATE))
        ]
        seconds = len(rows) / 100 + 0.02
        source = AudioSource("file", [0], str(exp / f"{name}.wav"))
        recordings.append(Recording(name, [source], 8000, round(seconds * 8000), seconds))
        supervisions.append(SupervisionSegment(name, name, 0.0, seconds, 0, " ".join(words), speaker=speaker))
        features.append((name, speaker, np.array(rows, dtype=np.float32)))
    write_data(exp / "data", recordings, supervisions)
    (exp / "feats").mkdir()
    write_archive(exp / "feats", features)
    (exp / "feats" / "kind.json").write_text('{"kind": "mfcc", "sample_rates": [16000]}')
    build_lang(exp / "lang", add_noise_words(LEXICON, []))
    return exp


def run(exp, verb, *more):
    common = ["--data", exp / "data", "--lang", exp / "lang"] + ([] if verb == "ctm" else ["--feats", exp / "feats"])
    return main([str(word) for word in (verb, *common, *more)])


def test_from_features_to_times(exp):
    assert run(exp, "train-mono", "--out", exp / "mono", "--num-gauss", 40, "--jobs", 2) == 0
    tri = ("train-tri", "--ali", exp / "mono", "--out", exp / "tri", "--leaves", 30, "--num-gauss", 50)
    assert run(exp, *tri) == 0
    assert run(exp, "align", "--model", exp / "tri", "--out", exp / "ali", "--jobs", 1) == 0
    for folder in ("mono", "tri", "ali"):
        aligned = AlignmentSet.open(exp / folder / "ali")
        assert aligned.ids == sorted(FeatureArchive.open(exp / "feats").ids)
        assert (exp / folder / "ali" / "failed.txt").read_text() == ""
    # the same model aligns the same data the same way
    assert np.array_equal(aligned.transition_ids, AlignmentSet.open(exp / "tri" / "ali").transition_ids)
    record = json.loads((exp / "tri" / "stage.json").read_text())
    assert record["stage"] == 3 and record["options"]["leaves"] == 30
    model = open_acoustic_model(exp / "tri")
    assert model.open_features(exp / "feats").dim == 12
    telephone = exp / "telephone"
    telephone.mkdir()
    (telephone / "kind.json").write_text('{"kind": "mfcc", "sample_rates": [8000]}')
    with pytest.raises(ValueError, match=r"sample_rates \[8000\]; the model was trained on \[16000\]"):
        model.open_features(telephone)

    assert run(exp, "ctm", "--ali", exp / "ali", "--out", exp / "times", "--textgrids") == 0
    texts = dict(line.split(" ", 1) for line in (exp / "data" / "text").read_text().splitlines())
    words = read_ctm(exp / "times" / "words.ctm")
    assert [w.word for w in words] == " ".join(texts[i] for i in aligned.ids).split()
    assert len(list((exp / "times" / "textgrids").iterdir())) == 40

    before = (exp / "tri" / "gmm.safetensors").stat().st_mtime_ns
    assert run(exp, *tri, "--jobs", 1) == 0  # jobs do not count
    assert (exp / "tri" / "gmm.safetensors").stat().st_mtime_ns == before


def test_sizes_not_given_are_by_the_data(exp, tmp_path):
    assert run(exp, "train-mono", "--out", tmp_path / "mono", "--num-gauss", 20) == 0
    assert run(exp, "train-tri", "--ali", tmp_path / "mono", "--out", tmp_path / "tri", "--leaves", 30) == 0
    frames = len(FeatureArchive.open(exp / "feats").frames)
    wanted = sizes_by_data(frames, 2).num_gauss
    made = open_acoustic_model(tmp_path / "tri").gmm.num_gauss
    assert 30 < made <= wanted + 25  # growing in whole steps, up to 25 are lost or gained
    assert json.loads((tmp_path / "tri" / "stage.json").read_text())["options"]["leaves"] == 30


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train-mono", "--num-gauss", "0"), "num_gauss 0: expected a whole number of at least 1"),
        (("train-mono", "--max-hours", "-1"), "max_hours -1.0: expected a number above 0"),
        (("train-tri", "--ali", "nowhere"), "nowhere: does not exist; run the stage that makes it first"),
        (("train-tri", "--ali", "nowhere", "--leaves", "-3"), "leaves -3: expected a whole number of at least 1"),
        (("align", "--model", "nowhere"), "nowhere: does not exist"),
    ],
)
def test_bad_options_are_one_line(exp, arguments, message, capsys):
    assert run(exp, *arguments, "--out", exp / "never") == 1
    error = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert len(error) == 1 and message in error[0]
    assert not (exp / "never").exists()


def test_folders_of_another_kind_are_one_line(exp, capsys):
    assert run(exp, "train-tri", "--ali", exp / "lang", "--out", exp / "never") == 1
    assert "no transitions.json; expected a model folder made by stage 3" in capsys.readouterr().err
    assert run(exp, "ctm", "--ali", exp / "feats", "--out", exp / "never") == 1
    assert "expected alignments made by stage 3" in capsys.readouterr().err
    assert not (exp / "never").exists()


def test_systems_of_another_lang_folder_are_one_line(exp, tmp_path, capsys):
    topology = Topology.of_phones([1], [2])
    tree = monophone_tree(topology)
    transitions = TransitionModel.build(topology, tree)
    for part in (tree, transitions, DiagGmmSet.single(np.zeros((8, 12)), np.ones((8, 12)))):
        part.save(tmp_path)
    AlignmentSet.of([], []).write(tmp_path / "ali")
    for verb, option in (("align", "--model"), ("train-tri", "--ali")):
        assert run(exp, verb, option, tmp_path, "--out", exp / "never") == 1
        assert f"its phones are not those of {exp / 'lang'}" in capsys.readouterr().err
