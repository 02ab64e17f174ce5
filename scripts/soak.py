"""Disturb every stage and every command that writes, at random moments, and compare the end with an undisturbed one's.

    python scripts/soak.py --minutes 60 --seed 1
    python scripts/soak.py --attempts 20 --stages collect,site --faults kill,full
    python scripts/soak.py --stages perturbation --faults kill --writes 2,5    # killed before these writes
    python scripts/soak.py --repeat 4171                                        # one attempt again, by its number

An attempt: a command is started in a file system of its own; before one of its writes, or at some time, it is halted
and a fault strikes; it goes on and ends. So once to three times. Each time it must end soon, with exit code 0 or 1 and
no traceback, leave no process, and every store must open. Then it is run undisturbed, and every file must equal that of
the undisturbed run, stores array by array. Prints a table of faults and failures, and exits with 1 where any failed.

Needs Linux with the right to mount (root, or user namespaces; file attributes need root), stories260k
(NEUROLOCAL_FIXTURES) and llama-cpp-python. It runs in a namespace of mounts and network of its own: what it mounts ends
with it, and no interface exists but loopback.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soak_compare
import soak_faults
import soak_jobs
import soak_process
from soak_jobs import Job
from soak_process import Running

ROOT = Path(__file__).parents[1]

LONGEST = 300.0
"""Seconds after which a command counts as hanging; a machine may have other work."""

BEFORE_WRITE = 0.6
"""Share of the faults that strike before a write; the others at a time."""

GIVEN = "NEUROLOCAL_SOAK_NAMESPACE"
"""Is set in the namespace."""


@dataclass
class Undisturbed:
    """What a job does when it is left alone."""

    job: Job
    before: Path
    """A copy of the folder as it was before."""
    seconds: float
    writes: int
    contents: dict[str, str]
    """Of the folder afterwards."""


@dataclass
class Outcome:
    """What became of an attempt."""

    number: int
    job: str
    faults: list[str]
    moments: list[str]
    wrong: list[str] = field(default_factory=list)
    """What is wrong with it; empty where nothing is."""


class Soak:
    """The folder of the attempts, always at the same path since stores name paths, and what is kept beside it."""

    def __init__(self, base: Path, subject: Path, llm: Path, keep: Path | None) -> None:
        """Prepare nothing yet; `prepare` does. What fails is copied into `keep`."""
        self.base, self.work, self.other, self.keep = base, base / "work", base / "other.h5", keep
        self.subject, self.llm, self.quiet = subject, llm, dict[str, Undisturbed]()

    def prepare(self, wanted: set[str]) -> None:
        """Run the jobs undisturbed, up to the last one that is wanted."""
        first = at = self.base / "kept" / "inputs"
        soak_jobs.write_inputs(first, self.subject, self.llm, ROOT / "data" / "sample.jsonl.zst")
        for i, job in enumerate(soak_jobs.jobs(self.subject, self.llm)):
            start, then = first if job.fresh else at, self.base / "kept" / f"{i}"
            found = self.quiet[job.name] = self._undisturbed(job, start, then)
            at = at if job.fresh else then
            print(f"undisturbed: {job.name}, {found.seconds:.1f} s, {found.writes} writes", file=sys.stderr)
            if wanted <= self.quiet.keys():
                return

    def _undisturbed(self, job: Job, start: Path, then: Path) -> Undisturbed:
        """Run a job in a copy of a folder, and keep a copy of that as it is `then`."""
        with self._folder(start):
            running = Running(job.arguments, self.work, log=self.base / "log")
            if not running.ended(600) or running.code:
                sys.exit(f"undisturbed, {job.name} ended with {running.code}: {running.said}")
            seconds = time.monotonic() - running.began
            shutil.copytree(self.work, then, ignore=shutil.ignore_patterns(*soak_process.NOT_COUNTED))
            if job.name == "shard 0":
                shutil.copy(self.work / "p0.h5", self.other)
            shutil.rmtree(self.base / "cache", ignore_errors=True)
            shutil.copytree(self.work / "cache", self.base / "cache")
            return Undisturbed(job, start, seconds, running.writes, soak_compare.contents(self.work))

    def attempt(self, number: int, seed: int, job: str, faults: list[str], writes: list[int]) -> Outcome:
        """Disturb a job one to three times, then let it end, and compare.

        Args:
            number: of the attempt; with the seed it decides all that is drawn.
            seed: of the whole soak.
            job: its name.
            faults: names to draw from.
            writes: the writes before which it is disturbed, one each time; empty draws moments.
        """
        rng = np.random.default_rng([seed, number])
        quiet = self.quiet[job]
        outcome = Outcome(number, job, [], [])
        with self._folder(quiet.before):
            for i in range(len(writes) or int(rng.integers(1, 4))):
                name = str(rng.choice(faults))
                at_write, at_time = self._moment(quiet, rng)
                at_write = writes[i] if writes else at_write
                outcome.faults.append(name)
                outcome.moments.append(f"write {at_write}" if at_write else f"{at_time:.2f} s")
                said = self._disturbed(quiet.job, name, at_write, at_time, rng)
                outcome.wrong += [f"{name} at {outcome.moments[-1]}: {line}" for line in said]
            running = Running(quiet.job.arguments, self.work, log=self.base / "log")
            if not running.ended(LONGEST):
                outcome.wrong.append("undisturbed at the end: it hangs")
            elif running.code and not _is_there_already(running.said):
                outcome.wrong.append(f"undisturbed at the end: exit code {running.code}: {_last(running.said)}")
            else:
                outcome.wrong += soak_compare.differing(soak_compare.contents(self.work), quiet.contents)[:8]
            if outcome.wrong and self.keep is not None:
                to = self.keep / f"seed-{seed}-attempt-{number}"
                shutil.copytree(self.work, to, dirs_exist_ok=True, ignore=shutil.ignore_patterns("cache"))
        return outcome

    def _moment(self, quiet: Undisturbed, rng: np.random.Generator) -> tuple[int | None, float]:
        if rng.random() < BEFORE_WRITE:
            return int(rng.integers(1, quiet.writes + 1)), LONGEST
        return None, float(rng.uniform(0, 1.1 * quiet.seconds))

    def _disturbed(
        self, job: Job, fault: str, at_write: int | None, at_time: float, rng: np.random.Generator
    ) -> list[str]:
        """Run a command with one fault; what is wrong with how it ended."""
        running = Running(job.arguments, self.work, log=self.base / "log", at_write=at_write)
        if fault == "twin":
            return self._with_twin(job, running, rng)
        wrong: list[str] = []
        halted = running.halted(at_time)
        with contextlib.ExitStack() as stack:
            if halted:
                store = self.work / job.store if job.store else None
                scene = soak_faults.Scene(self.work, store, self.other, running, rng)
                stack.enter_context(soak_faults.FAULTS[fault](scene))
                running.go_on()
            wrong += self._ending(running, {0} if fault in soak_faults.HARMLESS or not halted else {0, 1, -9, -15})
            if running.code == -9 and fault != "kill":
                wrong.append("it was killed")
        return wrong + self._stores_that_do_not_open()

    def _with_twin(self, job: Job, running: Running, rng: np.random.Generator) -> list[str]:
        """Start the same command a second time while the first one runs: one of them may be refused."""
        time.sleep(float(rng.uniform(0, 0.5)))
        twin = Running(job.arguments, self.work, log=self.base / "log of the twin")
        if running.code is None and running.halted(LONGEST) and twin.code is None:
            twin.halted(LONGEST)  # it works, is refused or waits while the first one is halted
        for one in (running, twin):
            with contextlib.suppress(ProcessLookupError):
                one.go_on()
        wrong = [line for one in (running, twin) for line in self._ending(one, {0, 1})]
        if running.code and twin.code:
            wrong.append(f"both were refused: {_last(running.said)} / {_last(twin.said)}")
        return wrong + self._stores_that_do_not_open()

    def _ending(self, running: Running, codes: set[int]) -> list[str]:
        """What is wrong with the end of a command."""
        if not running.ended(LONGEST):
            return ["it hangs"]
        wrong, said = list[str](), running.said
        if running.code not in codes and not (running.code == 1 and _is_there_already(said)):
            wrong.append(f"exit code {running.code}: {_last(said)}")
        if "Traceback (most recent call last)" in said or "unexpected " in said:
            wrong.append(f"a traceback: {_last(said)}")
        if left := running.orphans(5 if running.code == -9 else 1):
            wrong.append(f"{len(left)} processes are left: {left[0]}")
        return wrong

    def _stores_that_do_not_open(self) -> list[str]:
        from neurolocal.errors import NeurolocalError
        from neurolocal.store import Store

        wrong = []
        for path in self.work.rglob("*.h5"):
            try:
                with Store(path):
                    pass
            except NeurolocalError as error:
                wrong.append(f"a store does not open: {error}")
        return wrong

    @contextlib.contextmanager
    def _folder(self, start: Path) -> Generator[None, None, None]:
        """The folder of an attempt, with copies of the files to start from and of the cache."""
        with soak_faults.file_system(self.work):
            shutil.copytree(start, self.work, dirs_exist_ok=True)
            if (self.base / "cache").is_dir():
                shutil.copytree(self.base / "cache", self.work / "cache")
            for name in soak_process.NOT_COUNTED:
                (self.work / name).mkdir(exist_ok=True)
            yield


def _is_there_already(said: str) -> bool:
    """Whether a command says that its work was done before: `merge` and `replay --out` replace no store."""
    return "the file exists" in said


def _last(said: str) -> str:
    """The last line of an output."""
    lines = [line for line in said.replace("\r", "\n").split("\n") if line.strip()]
    return lines[-1][:300] if lines else "(nothing)"


def main() -> None:
    """Soak, and print the table."""
    asked = _asked()
    _in_a_namespace()
    subject = Path(os.environ.get("NEUROLOCAL_FIXTURES", ROOT.parent / "shared" / "fixtures")) / "stories260k"
    llm = asked.llm or subject / "stories260K.gguf"
    names = [job.name for job in soak_jobs.jobs(subject, llm)]
    stages, faults = _chosen(asked.stages, names), _chosen(asked.faults, [*soak_faults.FAULTS, "twin"])
    soak_process.preload()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets what it starts behind itself ignore it
    with tempfile.TemporaryDirectory(prefix="soak-") as base:
        work = Path(base, "work")
        os.environ |= {
            "HOME": str(work / "home"), "NEUROLOCAL_CACHE": str(work / "cache"), "TMPDIR": str(work / "tmp"),
            "MPLCONFIGDIR": str(work / "cache" / "matplotlib"), "PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "passive",
        }  # fmt: skip
        soak = Soak(Path(base), subject, llm, asked.keep)
        soak.prepare(set(stages))
        outcomes = _attempts(soak, asked, stages, faults)
    print_table(outcomes)
    sys.exit(any(one.wrong for one in outcomes))


def _attempts(soak: Soak, asked: argparse.Namespace, stages: list[str], faults: list[str]) -> list[Outcome]:
    """Attempts until the time is over, or as many as are asked for, or until Ctrl-C; says how many."""
    began, outcomes = time.monotonic(), list[Outcome]()
    writes = [int(n) for n in asked.writes.split(",")] if asked.writes else []
    numbers = [asked.repeat] if asked.repeat is not None else range(asked.attempts or 1 << 30)
    with contextlib.suppress(KeyboardInterrupt):
        for number in numbers:
            if time.monotonic() - began > 60 * asked.minutes:
                break
            outcomes.append(soak.attempt(number, asked.seed, stages[number % len(stages)], faults, writes))
            _say(outcomes[-1], asked, stages, faults)
    print(f"{len(outcomes)} attempts in {(time.monotonic() - began) / 60:.1f} minutes, seed {asked.seed}")
    return outcomes


def _say(outcome: Outcome, asked: argparse.Namespace, stages: list[str], faults: list[str]) -> None:
    """Print what was tried; of a failure also what is wrong, and the command that repeats it."""
    struck = ", ".join(map(" at ".join, zip(outcome.faults, outcome.moments, strict=True)))
    print(f"{outcome.number}: {outcome.job}: {struck}", file=sys.stderr, flush=True)
    if outcome.wrong:
        options = f"--stages '{','.join(stages)}' --faults {','.join(faults)}"
        options += f" --writes {asked.writes}" if asked.writes else ""
        print(f"FAILED: {outcome.job}: {' | '.join(outcome.wrong)}", flush=True)
        print(f"  again: python scripts/soak.py --seed {asked.seed} --repeat {outcome.number} {options}", flush=True)


def print_table(outcomes: list[Outcome]) -> None:
    """Stage x fault: faults that struck in attempts that ended well, of all."""
    struck = Counter((one.job, fault) for one in outcomes for fault in one.faults)
    survived = Counter((one.job, fault) for one in outcomes if not one.wrong for fault in one.faults)
    faults = [name for name in [*soak_faults.FAULTS, "twin"] if any(fault == name for _, fault in struck)]
    print(f"{'faults survived / faults':18} " + " ".join(f"{name:>9}" for name in [*faults, "all"]))
    for job in [*dict.fromkeys(one.job for one in outcomes), "all"]:
        cells = []
        for fault in [*faults, "all"]:
            keys = [key for key in struck if job in (key[0], "all") and fault in (key[1], "all")]
            n = sum(struck[key] for key in keys)
            cells.append(f"{sum(survived[key] for key in keys)}/{n}" if n else "-")
        print(f"{job:24} " + " ".join(f"{cell:>9}" for cell in cells))


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1e9, help="how long; after it no attempt begins")
    parser.add_argument("--attempts", type=int, help="how many")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stages", help="of these alone, separated by commas")
    parser.add_argument("--faults", help="of these alone, separated by commas")
    parser.add_argument("--writes", help="disturb before these writes, one after another, in place of drawn moments")
    parser.add_argument("--repeat", type=int, help="the attempt of this number alone, with the same other options")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="copy the folders of failed attempts there")
    parser.add_argument("--llm", type=Path, help="GGUF file [default: that of stories260k]")
    asked = parser.parse_args()
    if asked.minutes == 1e9 and asked.attempts is None and asked.repeat is None:
        parser.error("give --minutes, --attempts or --repeat")
    return asked


def _chosen(given: str | None, known: list[str]) -> list[str]:
    """The names that were given; all where none were."""
    if given is None:
        return known
    names = [name.strip() for name in given.split(",")]
    if unknown := sorted(set(names) - set(known)):
        sys.exit(f"no {', '.join(unknown)}; known are: {'; '.join(known)}")
    return names


def _in_a_namespace() -> None:
    """Start this program again in namespaces of its own, without which it would mount where others see it."""
    if GIVEN in os.environ:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=False)
        return
    how = ["-mn"] if os.geteuid() == 0 else ["-rmn"]
    os.environ |= {GIVEN: "1", "OMP_NUM_THREADS": "1"}
    os.execvp("unshare", ["unshare", *how, sys.executable, *sys.argv])


if __name__ == "__main__":
    main()
