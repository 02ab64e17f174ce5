"""A step that takes long says its name; one that does not stays silent."""

import time

import pytest
from tqdm import tqdm

from neurolocal import progress
from neurolocal.progress import waiting


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NEUROLOCAL_CACHE", str(tmp_path))
    return tmp_path


def test_a_short_step_shows_nothing(capsys, own_cache) -> None:
    with waiting("loading it"):
        pass
    assert capsys.readouterr().err == ""
    assert not (own_cache / "seconds").exists()


def test_a_long_step_shows_its_name_and_then_an_estimate(capsys, own_cache, monkeypatch) -> None:
    monkeypatch.setattr(progress, "DELAY", 0.05)
    for expected in ("loading it: 00:00", "of about"):
        said, until = "", time.monotonic() + 60
        with waiting("loading it"):
            while expected not in said and time.monotonic() < until:
                time.sleep(0.05)
                said += capsys.readouterr().err
        assert expected in said
        capsys.readouterr()
    with waiting("another"):
        time.sleep(0.3)
    assert "of about" not in capsys.readouterr().err


def fail() -> None:
    with waiting("loading it"):
        time.sleep(0.2)
        raise ValueError("no")


def test_no_bar_and_errors(capsys, own_cache, monkeypatch) -> None:
    monkeypatch.setattr(progress, "DELAY", 0.05)
    with waiting("loading it", bar=False):
        time.sleep(0.2)
    assert capsys.readouterr().err == ""
    with pytest.raises(ValueError, match="no"):
        fail()
    assert not list((own_cache / "seconds").glob("*")), "how long a failed step took is no estimate"


def test_bars_that_are_switched_off_by_tqdms_own_setting(capsys, own_cache, monkeypatch) -> None:
    """TQDM_DISABLE=1 makes bars without most attributes; a thread that fails writes a traceback."""
    monkeypatch.setattr(progress, "DELAY", 0.05)
    monkeypatch.setattr(progress, "tqdm", lambda **named: tqdm(**named, disable=True))
    with waiting("loading it"):
        time.sleep(0.2)
    assert capsys.readouterr().err == ""
