"""The process in which one reader gets its inputs; `fuzz.py` starts it, and watches time and memory from outside.

Invariant: an input is a function of the reader's name, the seed and its number (without guidance), and is kept in the
file `current` while it is read, so that a crash leaves it. Cost: the reader's, and one small file an input.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import mmap
import random
import resource
import shutil
import struct
import sys
import time
import traceback
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from fuzzing.watch import Watch

STATE = struct.Struct("<qd")
"""Inputs read, and when the current one began (monotonic; 0 between two)."""

FEWEST = 5
"""Inputs that are read whatever the time."""

TRACE = 6
"""Lines of a traceback that are kept."""


class Settings(NamedTuple):
    """What the parent says, as JSON on the command line."""

    names: list[str]
    """Of the readers, one after another."""
    folder: str
    """Of the sandbox."""
    seed: int
    start: int
    """Number of the first input."""
    inputs: int
    """Number behind the last one of each reader."""
    minutes: float
    """For each reader; at least `FEWEST` inputs are read."""
    guided: bool
    limit: int
    """Bytes of address space beside what is taken at the beginning."""
    rerun: str | None
    """A file that is the only input."""


class Child:
    """Gives inputs to a reader, and notes what goes wrong."""

    def __init__(self, settings: Settings, name: str, watch: Watch, done: int) -> None:
        from fuzzing.readers import READERS

        self.settings, self.name, self.reader = settings, name, READERS[name]
        self.root = Path(settings.folder)
        self.work, self.current = self.root / "work", self.root / "current"
        self.keys, self.done = set[str](), done
        self.watch = watch
        watch.starts = self.reader.starts
        self.seeds = self.reader.seeds()
        with (self.root / "state").open("r+b") as file:
            self.state = mmap.mmap(file.fileno(), STATE.size)

    def warm(self) -> None:
        """Read the seeds without limits, for late imports; a seed that fails is a fault. Then set the limits."""
        done = self.done
        for seed in self.seeds:
            self.one(seed, watched=False)
        self.done = done
        limit = psutil.Process().memory_info().vms + self.settings.limit
        with contextlib.suppress(ValueError, OSError):  # not every system has one
            resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 32, 1 << 32))

    def one(self, data: bytes, *, watched: bool = True) -> None:
        """Read one input."""
        self.current.write_bytes(data)
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()
        self.state[:] = STATE.pack(self.done, time.monotonic() if watched else 0.0)
        raised, nothing = None, io.StringIO()
        with self.watch.watching(), contextlib.redirect_stdout(nothing), contextlib.redirect_stderr(nothing):
            try:
                self.reader.call(data, self.work)
            except BaseException as error:  # a panic is no Exception
                raised = error
        said, where = ("", "") if raised is None else self._judged(raised)
        for fault in dict.fromkeys(self.watch.seen if watched else ()):
            self._note("watched", fault, fault.split(" ")[0], data)
        if said:
            self._note("raised", said, where, data)
        self.done += 1
        self.state[:] = STATE.pack(self.done, 0.0)

    def _judged(self, error: BaseException) -> tuple[str, str]:
        """What is wrong with an exception, and where it was raised; empty where it refuses the input."""
        from neurolocal.errors import NeurolocalError

        kind = type(error).__name__
        if isinstance(error, NeurolocalError):
            return ("", "") if str(error).strip() else (f"{kind} without a message", _place(error))
        if kind in self.reader.refusals:
            return "", ""
        return "".join(traceback.format_exception(error)[-TRACE:])[-3000:], f"{kind} {_place(error)}"

    def _note(self, kind: str, said: str, where: str, data: bytes) -> None:
        """Keep a fault: of each place the first input."""
        key = hashlib.sha256(f"{self.name} {kind} {where}".encode()).hexdigest()[:12]
        if key in self.keys:
            return
        self.keys.add(key)
        (self.root / f"fault-{key}").write_bytes(data)
        line = {"reader": self.name, "key": key, "kind": kind, "where": where, "said": said, "input": self.done}
        with (self.root / "faults.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def mutated(self) -> None:
        """Inputs by number."""
        s, end = self.settings, time.monotonic() + 60 * self.settings.minutes
        for number in range(s.start, s.inputs):
            if time.monotonic() > end and number >= s.start + FEWEST:
                break
            rng = random.Random(f"{self.name} {s.seed} {number}")
            self.one(self.reader.mutate(rng.choice(self.seeds), rng))

    def guided(self) -> None:
        """Inputs that atheris chooses by the code that they reach."""
        import atheris  # pyright: ignore[reportMissingImports]

        seeds = self.root / "seeds"
        seeds.mkdir(exist_ok=True)
        for i, seed in enumerate(self.seeds):
            (seeds / f"seed-{i}").write_bytes(seed)

        def mutate(data: bytes, most: int, seed: int) -> bytes:
            rng = random.Random(seed)
            if rng.random() < 0.3:
                return atheris.Mutate(data, most)
            return self.reader.mutate(rng.choice(self.seeds) if rng.random() < 0.1 else data, rng)[:most]

        s = self.settings
        most = max(1 << 16, 2 * max(map(len, self.seeds)))
        options = [
            f"-runs={s.inputs - s.start}",
            f"-max_total_time={max(1, round(60 * s.minutes))}",
            f"-seed={s.seed + 1}",
        ]
        options += [f"-max_len={most}", "-len_control=0", "-rss_limit_mb=0", "-timeout=1000000", "-detect_leaks=0"]
        atheris.Setup(
            [sys.argv[0], *options, f"-artifact_prefix={self.root}/", str(seeds)], self.one, custom_mutator=mutate
        )
        atheris.Fuzz()


def _place(error: BaseException) -> str:
    """Where an exception was raised: the innermost place of ours, and the innermost of all."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "/neurolocal/" in f.filename]
    return " <- ".join(f"{Path(f.filename).name}:{f.lineno}" for f in (*frames[-1:], *own[-1:]))


def _instrumented(guided: bool) -> Any:
    """While this is open, modules of ours are imported so that atheris sees which code an input reaches."""
    if not guided:
        return contextlib.nullcontext()
    import atheris  # pyright: ignore[reportMissingImports]

    return atheris.instrument_imports(include=["neurolocal"])  # pyright: ignore[reportAttributeAccessIssue]


def main() -> None:
    """Read all inputs; the exit code is 0 where none ended the process."""
    settings = Settings(**json.loads(sys.argv[1]))
    with _instrumented(settings.guided):
        watch, done = Watch(Path(settings.folder), starts=False), settings.start
        for name in settings.names:
            child = Child(settings, name, watch, done)
            if settings.rerun is not None:
                child.one(Path(settings.rerun).read_bytes())
                return
            child.warm()
            child.guided() if settings.guided else child.mutated()
            done = child.done


if __name__ == "__main__":
    main()
