"""A bar for a step that does not say how far it is: its name, the time so far, and how long it took the last time.

Invariant: a step under DELAY seconds shows nothing. Cost: one sleeping thread a step; a file of a few bytes in the
cache for a step that showed something.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections.abc import Generator

from tqdm import tqdm

from neurolocal.errors import NeurolocalError
from neurolocal.files import cache_folder, write_text

DELAY = 2.0
"""Seconds after which a step shows itself."""


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
                write_text(cache_folder("seconds") / _name(what), f"{took:.1f}", durable=False)
    finally:
        over.set()
        shown.join()


def _show(what: str, began: float, over: threading.Event) -> None:
    if over.wait(DELAY):
        return
    last = _last(what)
    form = "{desc}: {elapsed}" if last is None else "{desc}: {percentage:3.0f}%|{bar}| {elapsed} of about {total:.0f} s"
    with tqdm(desc=what, total=last, bar_format=form) as bar:
        if bar.disable:  # by TQDM_DISABLE
            return
        bar.start_t -= time.monotonic() - began
        while not over.wait(0.5):
            so_far = time.monotonic() - began
            bar.n = so_far if last is None else min(so_far, last)
            bar.refresh()


def _last(what: str) -> float | None:
    """Seconds that a step of this name took last; None where it is not known."""
    try:
        return max(DELAY, float((cache_folder("seconds") / _name(what)).read_text()))
    except (NeurolocalError, OSError, ValueError):
        return None


def _name(what: str) -> str:
    return hashlib.sha256(what.encode()).hexdigest()[:32]
