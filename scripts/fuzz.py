"""Give every reader of files damaged inputs, under limits of time and memory, and list what they do wrong.

    python scripts/fuzz.py                               # every reader: 100,000 inputs or 5 minutes each
    python scripts/fuzz.py store vectors --minutes 1     # the readers whose names contain one of the words
    python scripts/fuzz.py store --rerun fuzz-faults/store/crash-1a2b3c
    python scripts/fuzz.py --list

Each reader runs in a process of its own. A fault is: a signal, over `--seconds` for an input, over `--limit-gb`, an
exception that is no NeurolocalError, or something beside the task (a file outside the sandbox is opened, a
process is started, a socket is used, a pickle or text is made into code). Its input is kept in `--faults`, and the
command that reads it again is printed. Exits with 1 where there is a fault.
Cost: `--minutes` a reader and one core.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import mmap
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from fuzzing.child import STATE, Settings
from hostile import resident

ROOT = Path(__file__).parents[1]

PATH = os.pathsep.join([str(ROOT), str(ROOT / "scripts")])

MEMORY = "/dev/shm"
"""A folder in memory, where there is one: writers flush to the disk, which is what takes long elsewhere."""

EVERY = 0.1
"""Seconds between two looks at a child."""

START = 180.0
"""Seconds that a child may take to start: importing torch on a busy machine, making the seeds."""

MOST_ENDS = 10
"""Ends of a reader's process (crash, time, memory) after which it is given up."""


@dataclass
class Outcome:
    """What fuzzing one reader gave."""

    name: str
    inputs: int = 0
    seconds: float = 0.0
    faults: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Key -> kind, place and what was said."""

    @property
    def line(self) -> str:
        """Its row in the table."""
        rate = self.inputs / self.seconds if self.seconds else 0
        return f"{self.name:22} {self.inputs:9,} {rate:10,.0f} {len(self.faults):7}"


def main() -> None:
    """Fuzz, and print the table."""
    given = _arguments()
    from fuzzing.readers import READERS

    names = [name for name in READERS if not given.names or any(word in name for word in given.names)]
    if given.list:
        print("\n".join(READERS))
        return
    if not names:
        sys.exit(f"no reader's name contains {' or '.join(given.names)}; known are: {', '.join(READERS)}")
    if given.rerun is not None:
        names = [name for name in names if name in given.names] or names[:1]
    outcomes = []
    for group in [names] if given.together else [[name] for name in names]:
        guided = READERS[group[0]].guided if given.engine is None else given.engine == "atheris"
        guided = guided and not given.together and importlib.util.find_spec("atheris") is not None
        outcomes.append(fuzz(group, given, guided=guided))
        print(outcomes[-1].line, file=sys.stderr, flush=True)
    print(f"\n{'reader':22} {'inputs':>9} {'inputs/s':>10} {'faults':>7}")
    for outcome in outcomes:
        print(outcome.line)
    for outcome in outcomes:
        for key, fault in outcome.faults.items():
            name = fault["reader"]
            print(f"\n{name} {fault['kind']} {fault['where']}\n{fault['said'].rstrip()}")
            print(f"  python scripts/fuzz.py {name} --rerun {given.faults / name / key}")
    sys.exit(any(outcome.faults for outcome in outcomes))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", help="words in the names of the readers [default: all readers]")
    parser.add_argument("--inputs", type=int, default=100_000, help="inputs a reader [default: 100000]")
    parser.add_argument("--minutes", type=float, default=5.0, help="minutes a reader [default: 5]")
    parser.add_argument("--seed", type=int, default=0, help="of the inputs [default: 0]")
    parser.add_argument("--limit-gb", type=float, default=4.0, help="memory of an input [default: 4]")
    parser.add_argument("--seconds", type=float, default=20.0, help="time of an input [default: 20]")
    parser.add_argument(
        "--engine",
        choices=("atheris", "mutations"),
        help="who chooses inputs [default: the reader's, if there is atheris]",
    )
    parser.add_argument("--faults", type=Path, default=Path("fuzz-faults"), help="folder for inputs that are faults")
    parser.add_argument("--rerun", type=Path, help="read this input alone")
    parser.add_argument("--together", action="store_true", help="all readers in one process, one after another")
    parser.add_argument("--list", action="store_true", help="print the names of the readers")
    return parser.parse_args()


def fuzz(names: list[str], given: argparse.Namespace, *, guided: bool) -> Outcome:
    """Fuzz a reader, or several in one process; it is started again behind an input that ended it."""
    outcome, begin, ends = Outcome(names[0] if len(names) == 1 else "together"), time.monotonic(), 0
    while ends < MOST_ENDS:
        minutes = given.minutes - (time.monotonic() - begin) / 60
        if outcome.inputs >= given.inputs or minutes <= 0:
            break
        settings = Settings(
            names=names, folder="", seed=given.seed + (ends if guided else 0), start=outcome.inputs,
            inputs=given.inputs, minutes=minutes, guided=guided, limit=int(given.limit_gb * (1 << 30)),
            rerun=None if given.rerun is None else str(given.rerun.resolve()),
        )  # fmt: skip
        ended = _run(settings, outcome, given)
        if ended is None or given.rerun is not None or given.together:
            break
        ends += 1
    return outcome


def _run(settings: Settings, outcome: Outcome, given: argparse.Namespace) -> str | None:
    """Run one process until it ends or must be ended; says why it must, None where it came to its own end."""
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as folder:
        root = Path(folder)
        settings = settings._replace(folder=folder)
        (root / "state").write_bytes(STATE.pack(settings.start, 0.0))
        with (root / "said").open("wb") as said, (root / "state").open("rb") as file:
            state = mmap.mmap(file.fileno(), STATE.size, access=mmap.ACCESS_READ)
            command = [sys.executable, "-P", "-m", "fuzzing.child", json.dumps(settings._asdict())]
            process = subprocess.Popen(
                command, cwd=folder, env=_environment(root), stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                start_new_session=True,
            )  # fmt: skip
            began, why = time.monotonic(), None
            while process.poll() is None:
                why = why or _over(process.pid, state, began, given, start=settings.start)
                if why:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                time.sleep(EVERY)
            inputs = STATE.unpack(state[:])[0]
            state.close()
        outcome.seconds += time.monotonic() - began
        if why is None and process.returncode:
            lines = (root / "said").read_text("utf-8", "replace").strip().splitlines()
            why = f"ended with {process.returncode}: " + " | ".join(lines[-12:])[-1500:]
        outcome.inputs = max(outcome.inputs, inputs + bool(why))
        _collect(root, outcome, given.faults, why, inputs)
        return why


def _environment(root: Path) -> dict[str, str]:
    """Caches, temporary files and home are in the sandbox; no network, few threads."""
    for name in ("home", "cache", "temporary"):
        (root / name).mkdir()
    own = {"HOME": str(root / "home"), "NEUROLOCAL_CACHE": str(root / "cache"), "TMPDIR": str(root / "temporary")}
    own |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "PYTHONPATH": PATH}
    own |= {
        "HF_HOME": str(root / "cache"),
        "NEUROLOCAL_OFFLINE": "1",
        "PYTHONFAULTHANDLER": "1",
        "RAYON_NUM_THREADS": "1",
    }
    return {**os.environ, **own, "TOKENIZERS_PARALLELISM": "false"}


def _over(pid: int, state: mmap.mmap, began: float, given: argparse.Namespace, *, start: int) -> str | None:
    """Which limit a process is over."""
    _, since = STATE.unpack(state[:])
    now = time.monotonic()
    if since and now - since > given.seconds:
        return f"over {given.seconds:g} s"
    if not since and now - began > START and STATE.unpack(state[:])[0] == start:
        return "its process did not start"
    used = resident(pid)
    return f"over {given.limit_gb:g} GB ({used / 1e9:.1f})" if used > given.limit_gb * (1 << 30) else None


def _collect(root: Path, outcome: Outcome, kept: Path, why: str | None, number: int) -> None:
    """Keep the inputs of the faults."""
    lines = (root / "faults.jsonl").read_text("utf-8").splitlines() if (root / "faults.jsonl").is_file() else []
    found = {fault["key"]: (fault, root / f"fault-{fault['key']}") for fault in map(json.loads, lines)}
    current = root / "current"
    if why and current.is_file():
        key = f"end-{hashlib.sha256(current.read_bytes()).hexdigest()[:10]}"
        found[key] = {"reader": outcome.name, "kind": "ended", "where": f"input {number}", "said": why}, current
    elif why:
        found["start"] = (
            {"reader": outcome.name, "kind": "ended", "where": "before its first input", "said": why},
            root / "said",
        )
    for key, (fault, path) in found.items():
        if key not in outcome.faults:
            outcome.faults[key] = fault
            (kept / fault["reader"]).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, kept / fault["reader"] / key)


if __name__ == "__main__":
    main()
