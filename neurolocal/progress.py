"""Progress, on a terminal and in a log: bars, and steps that do not say how far they are.

A bar draws itself over and over on a terminal. Elsewhere (a log file, a batch system) it prints one whole line every
`EVERY` seconds, without carriage returns, and one at its end.
Invariant: a step under DELAY seconds shows nothing. Cost: one sleeping thread a step; a file of a few bytes in the
cache for a step that showed something.
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
import threading
import time
from collections.abc import Callable, Generator
from typing import Any

from tqdm import tqdm

from neurolocal.errors import NeurolocalError

DELAY = 2.0
"""Seconds after which a step shows itself."""

EVERY = 30.0
"""Seconds between two lines of a bar in a log."""

FORM = "{desc}: {percentage:3.0f}%|{bar}| {elapsed} of about {total:.0f} s"
"""A step on a terminal, where it is known how long it took last."""


class Bar(tqdm):  # pyright: ignore[reportMissingTypeArgument]
    """tqdm's bar; in a log, whole lines in place of a bar that is drawn again and again."""

    def __init__(self, *args: Any, **named: Any) -> None:
        """As tqdm."""
        self._in_log = not drawn_on(named.get("file") or sys.stderr)
        self._began = time.monotonic()
        self._next = self._began + EVERY
        if self._in_log:
            named |= {"mininterval": 1.0, "delay": 0}
        super().__init__(*args, **named)

    @staticmethod
    def status_printer(file: Any) -> Callable[[str], None]:
        """As tqdm; in a log there is nothing on the line that must be covered."""
        return tqdm.status_printer(file) if drawn_on(file) else lambda text: print(text, file=file, flush=True)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """As tqdm; in a log a line, if it is time for one."""
        if not self._in_log:
            super().display(msg, pos)
        elif time.monotonic() >= self._next:
            self._say()

    def clear(self, nolock: bool = False) -> None:
        """As tqdm; in a log there is nothing to clear."""
        if not self._in_log:
            super().clear(nolock)

    def close(self) -> None:
        """As tqdm; in a log the last line, of a bar that took longer than DELAY."""
        if self.disable or not self._in_log:
            super().close()
            return
        self.disable = True
        self._decr_instances(self)  # pyright: ignore[reportAttributeAccessIssue]
        if self.leave and time.monotonic() - self._began > DELAY:
            self._say()

    def line(self) -> str:
        """The bar as one line of a log."""
        facts = self.format_dict
        n, total, elapsed, postfix = facts["n"], facts["total"], facts["elapsed"], facts["postfix"]
        rate = facts["rate"] or (n - facts["initial"]) / max(elapsed, 1e-9)
        shown = tqdm.format_sizeof if facts["unit_scale"] else "{:,}".format
        unit = facts["unit"]
        if len(unit) > 1:  # a word: rows, batches
            unit = f" {unit}es" if unit.endswith(("ch", "s", "x")) else f" {unit}s"
        parts = [f"{shown(n)}{unit}" if not total else f"{shown(n)} of {shown(total)}{unit} ({n / total:.0%})"]
        parts.append(tqdm.format_interval(elapsed))
        if total and rate and n < total:
            parts.append(f"{tqdm.format_interval((total - n) / rate)} left")
        parts += [postfix] if postfix else [f"{rate:,.3g}{unit}/s"]
        return f"{self.desc.removesuffix(': ') or 'progress'}: {', '.join(parts)}"

    def _say(self) -> None:
        self._next = time.monotonic() + EVERY
        self.sp(self.line())


class _Step(Bar):
    """A step that does not count; in a log its first line comes at once."""

    def __init__(self, what: str, seconds: float | None, began: float) -> None:
        """`seconds`: how long it took last; `began`: when it did, by the monotonic clock."""
        form = "{desc}: {elapsed}" if seconds is None else FORM
        super().__init__(desc=what, total=seconds, bar_format=form)
        if self.disable:  # by TQDM_DISABLE
            return
        self.start_t -= self._began - began
        self._began, self._next = began, 0.0
        self.refresh()

    def line(self) -> str:
        """As `Bar`."""
        elapsed = tqdm.format_interval(self.format_dict["elapsed"])
        return (
            f"{self.desc}: {elapsed}" if self.total is None else f"{self.desc}: {elapsed} of about {self.total:.0f} s"
        )


def drawn_on(file: Any) -> bool:
    """Whether a bar can be drawn on a stream: a terminal, or the output of a notebook."""
    return type(file).__module__.startswith("ipykernel") or bool(getattr(file, "isatty", lambda: False)())


@contextlib.contextmanager
def above_bars() -> Generator[None, None, None]:
    """Lines that are written inside stand above the bars of this process."""
    with Bar.external_write_mode(file=sys.stderr):
        yield


@contextlib.contextmanager
def waiting(what: str, *, bar: bool = True) -> Generator[None, None, None]:
    """Show a bar while the block runs, if it takes longer than DELAY.

    Args:
        what: the step's name; the time that a step of this name took last is the bar's end.
        bar: whether to show one.
    """
    if not bar:
        yield
        return
    began, over = time.monotonic(), threading.Event()
    shown = threading.Thread(target=_show, args=(what, began, over), daemon=True)
    shown.start()
    try:
        yield
        took = time.monotonic() - began
        if took > DELAY:
            with contextlib.suppress(NeurolocalError, OSError):
                _keep(what, took)
    finally:
        over.set()
        shown.join()


def _show(what: str, began: float, over: threading.Event) -> None:
    if over.wait(DELAY):
        return
    last = _last(what)
    with _Step(what, last, began) as bar:
        if bar.disable:
            return
        while not over.wait(0.5):
            so_far = time.monotonic() - began
            bar.n = so_far if last is None else min(so_far, last)
            bar.refresh()


def _last(what: str) -> float | None:
    """Seconds that a step of this name took last; None where it is not known."""
    from neurolocal.files import cache_folder  # files shows a bar itself

    try:
        return max(DELAY, float((cache_folder("seconds") / _name(what)).read_text()))
    except (NeurolocalError, OSError, ValueError):
        return None


def _keep(what: str, took: float) -> None:
    """Keep how long a step took."""
    from neurolocal.files import cache_folder, write_text

    write_text(cache_folder("seconds") / _name(what), f"{took:.1f}", durable=False)


def _name(what: str) -> str:
    return hashlib.sha256(what.encode()).hexdigest()[:32]
