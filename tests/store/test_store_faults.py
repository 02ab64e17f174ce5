"""Faults are counted once for each place, with where the first is; errors of the reader become faults."""

import numpy as np
import pytest

from neurolocal.errors import StoreError
from neurolocal.store.checked import DamagedError
from neurolocal.store.faults import Faults


def damaged(what: str) -> DamagedError:
    error = DamagedError(what)
    error.what = what
    return error


def test_many_wrong_entries_are_one_fault():
    faults, wrong = Faults(), np.zeros((3, 4), bool)
    faults.where("a/b", wrong, "nothing", what="entries", axes=("neuron", "rank"))
    assert not faults.found
    wrong[1, 2:] = wrong[2] = True
    faults.where("a/b", wrong, "order", what="entries out of order", axes=("neuron", "rank"))
    assert [str(f) for f in faults.found] == ["a/b: 6 entries out of order, first at neuron 1, rank 2; expected order"]


def test_a_damaged_dataset_is_listed_once():
    faults = Faults()
    for what in ("a/b cannot be read (OSError)", "a/b is no dataset", "a/b cannot be read (OSError)", "c is a link"):
        with faults.reading("a"):
            raise damaged(what)
    assert [f.found for f in faults.found] == ["a/b cannot be read (OSError)", "a/b is no dataset", "c is a link"]


def test_other_errors_are_raised():
    with pytest.raises(StoreError, match="another"), Faults().reading("a"):
        raise StoreError("another")
