"""Mutation testing by cosmic-ray: a fault is put into a module, and its tests must fail.

    pipx run --spec cosmic-ray==8.7.0 python scripts/mutate.py --python .venv/bin/python
    ... scripts/mutate.py --python .venv/bin/python --only neurolocal/fdr.py --sample 5

Run it with a Python that has cosmic-ray; --python is the project's own, which runs the tests. Modules, tests and sample
sizes are in mutation.toml. Mutants are drawn at random, place by place: first a place of the code, then one of
cosmic-ray's operators that can change it, so that places with many operators do not count more. Annotations and
docstrings are left out, since no test can notice a change in them.
Invariant: the tree is copied; nothing in it is changed. The same seed draws the same mutants of the same code.
Cost: one run of the module's tests for each mutant, in a process forked from one that has imported torch and the other
large packages already.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SLOWEST = 10
"""A mutant whose tests take so many times as long as without it counts as noticed."""

LARGE = ("numpy", "scipy.stats", "torch", "numba", "pytest")
"""Packages that the process of the tests imports before it forks: none of the project's own, no plugin of pytest."""

Place = tuple[int, int]
"""Line from 1 and column from 0."""


def main() -> None:
    """Draw, test and print the mutants of each module."""
    given = arguments()
    targets = tomllib.loads((ROOT / "scripts" / "mutation.toml").read_text(encoding="utf-8"))["target"]
    targets = [target for target in targets if given.only in (None, target["module"])]
    with tempfile.TemporaryDirectory(prefix="mutants-", dir=given.work) as folder:
        root = copied(Path(folder))
        os.chdir(root)
        os.environ |= {"PYTHONPATH": str(root), "NEUROLOCAL_TEST_SEED": str(given.seed), "OMP_WAIT_POLICY": "passive"}
        tests = Tests(given.python)
        results = [result for target in targets for result in tested(target, tests, given.sample, given.seed, print)]
    if given.json is not None:
        given.json.write_text(json.dumps(results, indent=1), encoding="utf-8")
    print(table(results))


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--python", type=lambda path: Path(path).absolute(), required=True, help="runs the tests")
    parser.add_argument("--only", help="one module of mutation.toml")
    parser.add_argument("--sample", type=int, help="mutants of each module, instead of mutation.toml's number")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=lambda path: Path(path).absolute(), help="write every mutant with its outcome")
    parser.add_argument("--work", type=Path, help="folder for the copy of the tree")
    return parser.parse_args()


def copied(folder: Path) -> Path:
    """A copy of every file of the tree that git knows."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def tested(
    target: dict[str, Any], tests: Tests, sample: int | None, seed: int, say: Callable[[str], object]
) -> list[dict[str, Any]]:
    """The outcome of each drawn mutant of a module; the working directory is the copy."""
    from cosmic_ray.mutating import use_mutation  # pyright: ignore[reportMissingImports]
    from cosmic_ray.plugins import get_operator  # pyright: ignore[reportMissingImports]

    module = Path(target["module"])
    assert tests.pass_within(target["tests"], 1200), f"{module}: its tests fail without a mutant"
    started = time.monotonic()
    assert tests.pass_within(target["tests"], 1200)
    limit = SLOWEST * max(time.monotonic() - started, 5.0)
    results = []
    for mutant in drawn(mutations(module), module.read_text(encoding="utf-8"), sample or target["sample"], seed):
        before = time.monotonic()
        operator = get_operator(mutant.operator_name)(**mutant.operator_args)
        with use_mutation(module, operator, mutant.occurrence) as (original, mutated):
            survived = tests.pass_within(target["tests"], limit)
        line, took = mutant.start_pos[0], time.monotonic() - before
        say(f"{module}:{line} {mutant.operator_name} {'SURVIVED' if survived else 'killed'} {took:.0f} s")
        changed = [
            pair for pair in zip(original.splitlines(), mutated.splitlines(), strict=False) if pair[0] != pair[1]
        ]
        if survived:
            say("\n".join(f"  - {old}\n  + {new}" for old, new in changed[:3]))
        results.append(
            {"part": target["part"], "module": str(module), "line": line, "operator": mutant.operator_name,
             "survived": survived, "seconds": round(took, 1), "changed": changed[:3]}
        )  # fmt: skip
    return results


class Tests:
    """A process that has imported the large packages, and runs tests in forks of itself."""

    def __init__(self, python: Path) -> None:
        """Start it with the project's own Python; it inherits the working directory."""
        command = [str(python), str(Path(__file__).absolute()), "--serve"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def pass_within(self, tests: list[str], seconds: float) -> bool:
        """Whether these tests pass in that time."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([tests, seconds]) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


def serve() -> None:
    """The other side of `Tests`: answer each line of the standard input."""
    for name in LARGE:
        importlib.import_module(name)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        tests, seconds = json.loads(line)
        answers.write(json.dumps(_forked(tests, seconds)) + "\n")
        answers.flush()


def _forked(tests: list[str], seconds: float) -> bool:
    """Whether tests pass in a fork, which is ended with its children when the time is over."""
    child = os.fork()
    if child == 0:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        for stream in (1, 2):
            os.dup2(0, stream)
        import pytest

        os._exit(int(pytest.main(["-x", "-q", "-m", "not slow", "-p", "no:cacheprovider", *tests])))
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status == 0
        time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def mutations(module: Path) -> list[Any]:
    """Every mutation that cosmic-ray knows of a module."""
    from cosmic_ray.commands.init import _all_work_items  # pyright: ignore[reportMissingImports]

    return [item.mutations[0] for item in _all_work_items([module], {})]


def drawn(mutants: Iterable[Any], source: str, sample: int, seed: int) -> list[Any]:
    """A random sample, one mutant a place at most, in the order of the code."""
    places: dict[Place, list[Any]] = {}
    spans = untestable(source)
    for mutant in mutants:
        if not any(start <= mutant.start_pos < end for start, end in spans):
            places.setdefault(mutant.start_pos, []).append(mutant)
    rng = random.Random(seed)
    chosen = rng.sample(sorted(places), min(sample, len(places)))
    return [rng.choice(places[place]) for place in sorted(chosen)]


def untestable(source: str) -> list[tuple[Place, Place]]:
    """Where annotations and the docstrings of modules, classes, functions and fields begin and end."""
    nodes: list[ast.expr] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            nodes += [node.returns] if node.returns is not None else []
        elif isinstance(node, ast.arg | ast.AnnAssign):
            nodes += [node.annotation] if node.annotation is not None else []
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            nodes.append(node.value)
    return [
        ((node.lineno, node.col_offset), (node.end_lineno or node.lineno, node.end_col_offset or node.col_offset))
        for node in nodes
    ]


def table(results: list[dict[str, Any]]) -> str:
    """Mutants by part and module, as Markdown."""
    lines = ["| part | module | mutants | killed |", "| --- | --- | ---: | ---: |"]
    for (part, module), mutants in Counter((r["part"], r["module"]) for r in results).items():
        killed = sum(not r["survived"] for r in results if r["module"] == module)
        lines.append(_line(part, f"`{module}`", mutants, killed))
    for part, mutants in Counter(r["part"] for r in results).items():
        lines.append(_line(part, "all", mutants, sum(not r["survived"] for r in results if r["part"] == part)))
    return "\n".join(lines)


def _line(part: str, module: str, mutants: int, killed: int) -> str:
    return f"| {part} | {module} | {mutants} | {killed} ({killed / mutants:.0%}) |"


if __name__ == "__main__":
    serve() if sys.argv[1:] == ["--serve"] else main()
