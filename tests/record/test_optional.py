"""An absent optional package is asked for by the extra that brings it."""

import pytest

from asr_parallel.record.optional import require


def test_the_message_names_the_extra() -> None:
    with pytest.raises(ValueError, match=r"needs the optional package 'no_such_k2': pip install 'asr-parallel\[k2\]'"):
        require("no_such_k2", extra="k2", purpose="lattice-free training")


def test_a_present_package_is_returned() -> None:
    assert require("json", extra="none", purpose="nothing").dumps([]) == "[]"
