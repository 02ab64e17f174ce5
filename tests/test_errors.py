"""Every error of ours is one family, so that the command line can turn each into one line."""

from __future__ import annotations

import inspect

from neurolocal import errors


def test_errors_are_one_family() -> None:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
    assert len(kinds) >= 7
    assert all(issubclass(kind, errors.NeurolocalError) and kind.__doc__ for kind in kinds)
