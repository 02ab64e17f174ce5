"""What the tests of loading share."""

from __future__ import annotations

import pytest

from neurolocal.errors import SubjectError
from neurolocal.subject import load_subject


def refusal(spec, **how) -> str:
    with pytest.raises(SubjectError) as caught:
        load_subject(spec, device="cpu", **how)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 700
    return text
