"""A step that takes long says its name; one that does not stays silent. In a log bars are whole lines."""

import functools
import io
import re
import time
from types import SimpleNamespace

import pytest

from neurolocal import progress
from neurolocal.progress import Bar, above_bars, waiting


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
    for expected in ("loading it: 0", "of about"):
        said, until = "", time.monotonic() + 60
        with waiting("loading it"):
            while not said and time.monotonic() < until:
                time.sleep(0.1)
                said = capsys.readouterr().err
        said += capsys.readouterr().err
        assert expected in said
        assert "\r" not in said
        assert len(said.splitlines()) == 2, "one at its beginning, one at its end"
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
    monkeypatch.setattr(Bar, "__init__", functools.partialmethod(Bar.__init__, disable=True))
    with waiting("loading it"):
        time.sleep(0.2)
    assert capsys.readouterr().err == ""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def clock(monkeypatch, seconds) -> None:
    """Let bars have another clock."""
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=seconds))
    monkeypatch.setattr("tqdm.std.time", seconds)


def test_in_a_log_a_bar_is_one_whole_line_at_a_time(monkeypatch) -> None:
    """A line each EVERY seconds of an hour, and one at the end: no carriage return, nothing else."""
    now = 1000.0
    clock(monkeypatch, lambda: now)
    log = io.StringIO()
    with Bar(total=7200, desc="collect", unit="row", file=log, smoothing=0) as bar:
        for second in range(3600):
            now = 1000.0 + second
            bar.set_postfix_str(f"{128 * second:,} tokens, 256 tokens/s", refresh=False)
            bar.update(2)
            bar.refresh()
            bar.clear()
    lines = log.getvalue().splitlines()
    assert len(lines) == 3599 // 30 + 1
    assert "\r" not in log.getvalue()
    assert lines[0] == "collect: 62 of 7,200 rows (1%), 00:30, 57:33 left, 3,840 tokens, 256 tokens/s"
    assert lines[-1] == "collect: 7,200 of 7,200 rows (100%), 59:59, 460,672 tokens, 256 tokens/s"
    assert log.getvalue().endswith("\n")


@pytest.mark.parametrize(
    ("settings", "n", "line"),
    [
        ({"desc": "hashing", "unit": "B", "unit_scale": True, "total": 4_000_000_000}, 10**9,
         "hashing: 1.00G of 4.00GB (25%), 00:40, 02:00 left, 2.5e+07B/s"),
        ({"desc": "import", "unit": "page"}, 1200, "import: 1,200 pages, 00:40, 30 pages/s"),
        ({}, 4, "progress: 4 its, 00:40, 0.1 its/s"),
    ],
)  # fmt: skip
def test_lines_of_bars_of_each_kind(settings, n, line, monkeypatch) -> None:
    now = 1000.0
    clock(monkeypatch, lambda: now)
    log = io.StringIO()
    with Bar(file=log, **settings) as bar:
        now = 1040.0
        bar.update(n)
        assert log.getvalue() == f"{line}\n"
    assert len(log.getvalue().splitlines()) == 2


def test_a_short_bar_says_nothing_in_a_log() -> None:
    log = io.StringIO()
    for _ in Bar(range(100), desc="it", file=log, mininterval=0):
        pass
    with Bar(total=3, file=log, leave=False):
        pass
    assert log.getvalue() == ""


def test_on_a_terminal_a_bar_is_drawn_and_lines_stand_above_it(monkeypatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with Bar(total=3, desc="it", mininterval=0) as bar:
        bar.update()
        with above_bars():
            terminal.write("a line\n")
        bar.update()
    text = terminal.getvalue()
    assert re.search(r"\r *\ra line\n", text), "the bar is wiped away first"
    assert "\rit:  67%|" in text


def test_a_line_in_a_log_is_not_touched_by_a_bar(capsys) -> None:
    with Bar(total=3, desc="it"), above_bars():
        print("a line")
    assert capsys.readouterr().err == ""
