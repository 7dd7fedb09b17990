import struct

import kaldifst
import numpy as np
import pytest

from asr_parallel.hmm.fst_arrays import (
    LATTICE_ARC,
    STD_ARC,
    from_kaldifst,
    fst_bytes,
    fst_from_arcs,
    fst_from_bytes,
    read_fst,
    to_kaldifst,
    write_fst,
)


def random_fst(dtype, seed=0, states=40, arcs=300):
    rng = np.random.default_rng(seed)
    arc = np.zeros(arcs, dtype)
    for name in ("ilabel", "olabel"):
        arc[name] = rng.integers(0, 9, arcs)
    for name in dtype.names[2:-1]:
        arc[name] = rng.normal(size=arcs)
    arc["next"] = rng.integers(0, states, arcs)
    shape = (states,) if dtype == STD_ARC else (states, 2)
    finals = np.where(rng.random(shape[:1]) < 0.3, 1.5, np.inf).astype(np.float32)
    finals = np.broadcast_to(finals.reshape(-1, *[1] * (len(shape) - 1)), shape).copy()
    return fst_from_arcs(3, finals, rng.integers(0, states, arcs), arc)


@pytest.mark.parametrize("dtype", [STD_ARC, LATTICE_ARC])
def test_bytes_come_back_bit_for_bit_also_through_kaldifst(dtype):
    fst = random_fst(dtype)
    for back in (fst_from_bytes(b"xyz" + fst_bytes(fst), at=3)[0], from_kaldifst(to_kaldifst(fst))):
        assert back.start == 3
        np.testing.assert_array_equal(back.finals, fst.finals)
        np.testing.assert_array_equal(back.offsets, fst.offsets)
        np.testing.assert_array_equal(back.arcs, fst.arcs)


def test_kaldifst_sees_the_labels_and_weights_that_were_written(tmp_path):
    fst = random_fst(STD_ARC)
    write_fst(tmp_path / "a.fst", fst)
    other = kaldifst.StdVectorFst.read(str(tmp_path / "a.fst"))
    arcs = [
        (s, a.ilabel, a.olabel, a.weight.value, a.nextstate)
        for s in kaldifst.StateIterator(other)
        for a in kaldifst.ArcIterator(other, s)
    ]
    assert arcs == [(int(s), *a) for s, a in zip(fst.sources, fst.arcs.tolist(), strict=True) for a in [(*a,)]]
    np.testing.assert_array_equal(read_fst(tmp_path / "a.fst").arcs, fst.arcs)


@pytest.mark.parametrize("length", [0, 3, 20, 70, -1])
def test_damaged_data_are_refused_in_one_line(length):
    data = fst_bytes(random_fst(LATTICE_ARC))
    with pytest.raises(ValueError, match=r"^lat\.ark: utterance u: [^\n]*$"):
        fst_from_bytes(data[:length], where="lat.ark: utterance u")


@pytest.mark.parametrize("number", [-1, 2**40, 2**62, -(2**62)])
@pytest.mark.parametrize("at", ["states", "arcs"])
def test_damaged_numbers_of_states_and_arcs_are_refused(at, number):
    data = bytearray(fst_bytes(random_fst(STD_ARC)))
    header = 4 + 4 + len("vector") + 4 + len("standard") + struct.calcsize("<iiQ")
    struct.pack_into("<q", data, header + (8 if at == "states" else 24 + 4), number)  # of the first state
    with pytest.raises(ValueError, match="cut short: fewer bytes than its"):
        fst_from_bytes(bytes(data))


def test_missing_and_foreign_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no such FST"):
        read_fst(tmp_path / "none.fst")
    (tmp_path / "text").write_text("this is no transducer, but long enough to look like one to a careless reader\n")
    with pytest.raises(ValueError, match="not a binary vector FST"):
        read_fst(tmp_path / "text")
