"""Run every hostile input as a user would, each in a process of its own, under limits of memory and time.

    python scripts/hostile.py              # all
    python scripts/hostile.py bomb state   # those whose names contain one of the words
    python scripts/hostile.py --seconds 60 # on a machine that has other work: all times are of the clock

An input passes where the command exits with 0, 1 or 2, without a traceback, with at most one line of error, within
`SECONDS` and `BYTES`; the time includes starting Python and torch. Exits with 1 where any does not pass.
Cost: starting Python and torch for each input.
"""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import psutil

SECONDS = 20.0
"""Longest time of a command."""

BYTES = 4 << 30
"""Most resident memory of a command and its children."""

EVERY = 0.02
"""Seconds between two looks at the memory."""

KINDS = ("hostile_inputs", "hostile_models")
"""The modules beside this one with `INPUTS`: name -> what makes the input in a folder and returns the arguments."""

ROOT = Path(__file__).parents[1]


class Ending(NamedTuple):
    """How a command ended."""

    code: int
    """Its exit code; negative where a signal ended it."""
    seconds: float
    """Time from start to end."""
    peak: int
    """Most resident memory, in bytes."""
    said: str
    """Standard output and error."""

    @property
    def last(self) -> str:
        """The last line that it said; of a progress bar, its last state."""
        lines = [line.strip() for line in re.split(r"[\r\n]+", self.said) if line.strip()]
        return lines[-1] if lines else ""

    def faults(self, seconds: float) -> list[str]:
        """What is wrong with the ending; empty where nothing is."""
        found = []
        if self.seconds >= seconds:
            found.append(f"over {seconds:g} s")
        elif self.peak >= BYTES:
            found.append(f"over {BYTES / (1 << 30):g} GB")
        elif self.code not in (0, 1, 2):
            found.append(f"rc {self.code}")
        if "Traceback (most recent call last)" in self.said or "panicked at" in self.said:
            found.append("a traceback")
        if (n := len(re.findall(r"^(?:neurolocal: |Error: |error: )", self.said, re.MULTILINE))) > 1:
            found.append(f"{n} lines of error")
        return found


def main() -> None:
    """Print the table."""
    words, wrong, seconds = sys.argv[1:], 0, SECONDS
    if words[:1] == ["--seconds"]:
        seconds, words = float(words[1]), words[2:]
    wanted = {name: make for name, make in inputs().items() if not words or any(word in name for word in words)}
    print(f"{'input':44} {'rc':>4} {'seconds':>8} {'MB':>7}  last line")
    with tempfile.TemporaryDirectory(prefix="hostile-cache-") as cache:
        compile_kernels(Path(cache))
        for name, make in wanted.items():
            with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
                ending = run(make(Path(folder)), Path(folder), cache=Path(cache), seconds=seconds)
            faults = ending.faults(seconds)
            wrong += bool(faults)
            shown = f"FAILED ({', '.join(faults)}): {ending.last}" if faults else ending.last
            peak = ending.peak / 1e6
            print(f"{name:44} {ending.code:4} {ending.seconds:8.1f} {peak:7,.0f}  {shown[:250]}", flush=True)
    print(f"{wrong} of {len(wanted)} failed")
    sys.exit(wrong > 0)


def inputs() -> dict[str, Callable[[Path], list[str]]]:
    """Every input of the modules that there are."""
    sys.path.insert(0, str(Path(__file__).parent))
    found: dict[str, Callable[[Path], list[str]]] = {}
    for module in KINDS:
        if importlib.util.find_spec(module) is not None:
            found |= importlib.import_module(module).INPUTS
    return found


def compile_kernels(cache: Path) -> None:
    """Collect a good corpus, without a limit of time: the kernels are compiled once into the cache."""
    from hostile_inputs import good_corpus

    with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
        ending = run(good_corpus(Path(folder)), Path(folder), cache=cache, seconds=600)
    if ending.code:
        sys.exit(f"a good corpus gave {ending.code}: {ending.said}")


def run(arguments: list[str], folder: Path, *, cache: Path, seconds: float = SECONDS, most: int = BYTES) -> Ending:
    """Run `neurolocal` with arguments in a folder; it is killed where it goes over a limit."""
    home = {"HOME": str(folder), "NEUROLOCAL_CACHE": str(cache), "OMP_WAIT_POLICY": "passive"}
    environment = os.environ | home | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "neurolocal", *arguments]
    begin, peak = time.perf_counter(), 0
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
            start_new_session=True,
        ) as process,
    ):  # fmt: skip
        while process.poll() is None:
            peak = max(peak, resident(process.pid))
            if peak >= most or time.perf_counter() - begin >= seconds:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            time.sleep(EVERY)
        took = time.perf_counter() - begin
        said.seek(0)
        return Ending(process.returncode, took, peak, said.read(1 << 20).decode("utf-8", "replace"))


def resident(pid: int) -> int:
    """Resident memory of a process and its children, in bytes; 0 where it has ended."""
    total = 0
    try:
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            total += one.memory_info().rss
    except psutil.Error:
        pass
    return total


if __name__ == "__main__":
    main()
