"""Lattices worked by hand: best paths under many weightings, n-best, and Kaldi's archive."""

import gzip
import struct

import kaldifst
import numpy as np
import pytest

from asr_parallel.decode import lattice_archive
from asr_parallel.decode.compact_lattice import (
    COMPACT_ARC,
    CompactLattice,
    compact_bytes,
    compact_from_bytes,
    with_strings,
)
from asr_parallel.decode.lattice import best_paths
from asr_parallel.decode.lattice_archive import read_lattices, write_lattices
from asr_parallel.decode.nbest import n_best
from asr_parallel.hmm.fst_arrays import LATTICE_ARC, STD_ARC, Fst, fst_bytes, fst_from_arcs


def three_readings():
    """Two frames read as one word (7), as two words (8 9), or as the one word in another alignment.

    7:   graph 1, acoustic 30 + 1 (final)
    8 9: graph 4, acoustic 12
    7':  graph 2, acoustic 30 + 1
    """
    rows = [
        (0, (1, 7, 1.0, 10.0, 1)),
        (1, (2, 0, 0.0, 20.0, 4)),
        (0, (3, 8, 2.0, 5.0, 2)),
        (2, (4, 9, 2.0, 7.0, 3)),
        (3, (0, 0, 0.0, 0.0, 5)),
        (0, (5, 7, 2.0, 10.0, 1)),
    ]
    finals = np.full((6, 2), np.inf, np.float32)
    finals[4] = (0.0, 1.0)
    finals[5] = (0.0, 0.0)
    return fst_from_arcs(0, finals, np.array([s for s, _ in rows]), np.array([a for _, a in rows], LATTICE_ARC))


def test_each_weighting_gets_its_own_best_path():
    # cost of 7: 1 + 31 / lmwt + wip; of 8 9: 4 + 12 / lmwt + 2 wip: equal at 19 / lmwt = 3 + wip
    weightings = [(5, 0.0), (5, 1.0), (6.4, 0.0), (6, 0.5), (4, 1.0), (17, 0.0)]
    paths = best_paths(with_strings(three_readings()), weightings)
    two_words, one_word = paths[0], paths[1]
    assert two_words.words == [8, 9] and one_word.words == [7]
    assert [path.words for path in paths] == [[8, 9], [7], [7], [7], [8, 9], [7]]
    assert paths[4] is two_words and paths[2] is paths[3] is paths[5] is one_word
    assert one_word.transition_ids.tolist() == [1, 2] and two_words.transition_ids.tolist() == [3, 4]
    assert one_word.word_frames == [0] and two_words.word_frames == [0, 1]
    assert (one_word.graph_cost, one_word.acoustic_cost) == (1.0, 31.0)
    assert (two_words.graph_cost, two_words.acoustic_cost) == (4.0, 12.0)


def test_lattices_without_order_or_end_are_refused():
    lattice = three_readings()
    arcs = lattice.arcs.copy()
    arcs["next"][0] = 0
    with pytest.raises(ValueError, match="topological order"):
        best_paths(with_strings(Fst(0, lattice.finals, lattice.offsets, arcs)), [(1, 0)])
    with pytest.raises(ValueError, match="no final state"):
        best_paths(with_strings(Fst(0, np.full((6, 2), np.inf, np.float32), lattice.offsets, lattice.arcs)), [(1, 0)])


def test_n_best_lists_each_word_sequence_once():
    found = n_best(with_strings(three_readings()), 5, lmwt=10.0, wip=0.5)
    assert [words for _, words in found] == [[7], [8, 9]]
    assert [cost for cost, _ in found] == pytest.approx([1 + 3.1 + 0.5, 4 + 1.2 + 1.0])
    assert [words for _, words in n_best(with_strings(three_readings()), 1, lmwt=2.0)] == [[8, 9]]


def test_archive_of_both_kinds_comes_back(tmp_path):
    lattice = three_readings()
    compact = with_strings(lattice)
    path = tmp_path / "lat.1.gz"
    write_lattices(path, [("ütt-1", fst_bytes(lattice)), ("utt-2", compact_bytes(compact))])
    entries = list(read_lattices(path))
    assert [utterance for utterance, _ in entries] == ["ütt-1", "utt-2"]
    for _, back in entries:
        assert compact_bytes(back) == compact_bytes(compact)
    data = gzip.decompress(path.read_bytes())
    assert data.startswith("ütt-1 ".encode() + b"\xd6\xfd\xb2\x7e")  # key, then OpenFst's magic number


def test_kaldifst_reads_the_same_weights_of_a_state_level_lattice(tmp_path):
    (tmp_path / "one.lat").write_bytes(fst_bytes(three_readings()))
    other = kaldifst.Lattice.read(str(tmp_path / "one.lat"))
    assert other.num_states == 6 and other.final(4).value2 == 1.0
    assert other.to_str().splitlines()[0].split() == ["0", "1", "1", "7", "1,10"]


def test_compact_lattices_have_kaldis_bytes():
    """One state with an arc of word 7, costs 1 and 2 and ids 3 4, to a final one of costs 5 and 6 with id 8."""
    arcs = np.array([(7, 1.0, 2.0, 1, 0, 2)], COMPACT_ARC)
    finals = np.array([[np.inf, np.inf], [5, 6]], np.float32)
    spans, offsets = np.array([[0, 0], [2, 3]], np.int32), np.array([0, 1, 1])
    lattice = CompactLattice(finals, spans, offsets, arcs, np.array([3, 4, 8], np.int32))
    states = struct.pack("<ffiqii", np.inf, np.inf, 0, 1, 7, 7) + struct.pack("<ffiiii", 1, 2, 2, 3, 4, 1)
    states += struct.pack("<ffiiq", 5, 6, 1, 8, 0)
    data = compact_bytes(lattice)
    assert data.endswith(b"\x10\0\0\0compactlattice44" + struct.pack("<iiQqqq", 2, 0, 3, 0, 2, 1) + states)
    back, end = compact_from_bytes(b"x" + data + b"more", 1)
    assert end == 1 + len(data)
    assert compact_bytes(back) == data
    np.testing.assert_array_equal(back.finals, finals)
    np.testing.assert_array_equal(back.arcs, arcs)
    for length in range(len(data)):
        with pytest.raises(ValueError, match=r"^here: "):
            compact_from_bytes(data[:length], where="here")


def test_archives_larger_than_what_is_read_at_once_come_back(tmp_path, monkeypatch):
    monkeypatch.setattr(lattice_archive, "CHUNK", 100)
    data = compact_bytes(with_strings(three_readings()))
    write_lattices(tmp_path / "lat.1.gz", [(f"utt-{i}", data) for i in range(20)])
    assert [utterance for utterance, _ in read_lattices(tmp_path / "lat.1.gz")] == [f"utt-{i}" for i in range(20)]


def test_damaged_archives_are_refused_in_one_line(tmp_path):
    path = tmp_path / "lat.1.gz"
    with pytest.raises(ValueError, match="no such lattice archive"):
        next(read_lattices(path))
    data = b"utt-1 " + compact_bytes(with_strings(three_readings()))
    path.write_bytes(gzip.compress(data + data[:-3]))
    entries = read_lattices(path)
    next(entries)
    with pytest.raises(ValueError, match=r"^[^\n]*lat\.1\.gz: lattice of utt-1: cut short[^\n]*$"):
        next(entries)
    path.write_bytes(gzip.compress(data)[:-20])
    with pytest.raises(ValueError, match=r"^[^\n]*lat\.1\.gz: [^\n]*$"):
        list(read_lattices(path))
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"^[^\n]*lat\.1\.gz: damaged[^\n]*$"):
        next(read_lattices(path))
    path.write_bytes(gzip.compress(b"\0" * 9000))
    with pytest.raises(ValueError, match="no utterance id"):
        next(read_lattices(path))
    plain = fst_from_arcs(0, np.zeros(1, np.float32), np.zeros(1, int), np.zeros(1, STD_ARC))
    path.write_bytes(gzip.compress(b"utt-1 " + fst_bytes(plain)))
    with pytest.raises(ValueError, match="lattice of utt-1: not a binary vector FST of type"):
        next(read_lattices(path))
    path.write_bytes(gzip.compress(b""))
    assert list(read_lattices(path)) == []
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="empty"):
        next(read_lattices(path))


def test_archives_may_hold_states_in_any_order(tmp_path):
    """Kaldi's decoders write compact lattices as they have found the states."""
    lattice = three_readings()
    new = np.array([0, 3, 5, 1, 4, 2])  # of each state
    arcs = lattice.arcs.copy()
    arcs["next"] = new[arcs["next"]]
    finals = np.empty_like(lattice.finals)
    finals[new] = lattice.finals
    moved = fst_from_arcs(0, finals, new[lattice.sources], arcs)
    write_lattices(tmp_path / "lat.1.gz", [("u", fst_bytes(moved))])
    ((_, found),) = read_lattices(tmp_path / "lat.1.gz")
    for one, other in zip(*(best_paths(x, [(5, 0), (17, 0)]) for x in (found, with_strings(lattice))), strict=True):
        assert one.words == other.words and one.graph_cost == other.graph_cost
        assert one.transition_ids.tolist() == other.transition_ids.tolist()
    arcs["next"][0] = 0
    write_lattices(tmp_path / "lat.1.gz", [("u", fst_bytes(fst_from_arcs(0, finals, new[lattice.sources], arcs)))])
    with pytest.raises(ValueError, match="lattice of u: the lattice has a cycle"):
        list(read_lattices(tmp_path / "lat.1.gz"))


@pytest.mark.parametrize("target", [6, 500_000_000, -1])
@pytest.mark.parametrize("kind", ["state-level", "compact"])
def test_arcs_to_states_that_are_not_there_are_refused(tmp_path, kind, target):
    lattice = three_readings()
    lattice.arcs["next"][-1] = target
    data = fst_bytes(lattice) if kind == "state-level" else compact_bytes(with_strings(lattice))
    write_lattices(tmp_path / "lat.1.gz", [("utt-1", data)])
    with pytest.raises(ValueError, match="lattice of utt-1: an arc leads to none of its 6 states"):
        next(read_lattices(tmp_path / "lat.1.gz"))


def test_a_final_state_that_nothing_reaches_is_no_end():
    lattice = three_readings()
    lattice.finals[:] = np.inf
    lattice.finals[5] = 0.0
    arcs = lattice.arcs.copy()
    arcs["next"] = np.minimum(arcs["next"], 4)
    arcs["next"][np.repeat(np.arange(6), np.diff(lattice.offsets)) == 4] = 5
    with pytest.raises(ValueError, match="no path"):
        best_paths(with_strings(Fst(0, lattice.finals, lattice.offsets, arcs)), [(1, 0)])
