"""Write the table of dependencies into DEPENDENCIES.md: every pinned package, and what needs it.

    python scripts/dependencies.py           # print the table
    python scripts/dependencies.py --write   # put it between the markers in DEPENDENCIES.md

Invariant: the table comes from the metadata of the installed packages, pyproject.toml, constraints.txt and the imports
of our own code; nothing is looked up elsewhere. It fails where a pin has no reason.
Cost: the metadata of each package, and one parse of each of our files.
"""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

from markers import filled
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
OWN = "neurolocal"
MARKERS = "<!-- dependencies -->", "<!-- end dependencies -->"


def main() -> None:
    """Print the table, or write it."""
    text = table(ROOT)
    if "--write" not in sys.argv:
        print(text)
        return
    path = ROOT / "DEPENDENCIES.md"
    path.write_text(filled(path.read_text(encoding="utf-8"), *MARKERS, text), encoding="utf-8")


def table(root: Path) -> str:
    """A Markdown table of the pins: version, whether our code imports the package, and what requires it.

    Raises:
        ValueError: nothing that neurolocal requires needs a pinned package.
    """
    pinned, needed, used = pins(root), required(root), imported(root / OWN)
    without = sorted(set(pinned) - set(needed))
    if without:
        raise ValueError(f"constraints.txt pins what nothing requires: {', '.join(without)}. Remove these lines.")
    lines = ["| package | version | imported by us | required by |", "| --- | --- | --- | --- |"]
    for name in sorted(pinned):
        who = ", ".join(sorted(needed[name], key=lambda by: (not by.startswith(OWN), by)))
        lines.append(f"| {name} | {pinned[name]} | {'yes' if name in used else ''} | {who} |")
    return "\n".join(lines)


def pins(root: Path) -> dict[str, str]:
    """The versions of constraints.txt."""
    lines = (line.partition("#")[0].strip() for line in (root / "constraints.txt").read_text("utf-8").splitlines())
    return {canonicalize_name(line.partition("==")[0]): line.partition("==")[2] for line in lines if line}


def required(root: Path) -> dict[str, set[str]]:
    """Every package that neurolocal and its extras need, and what requires each: our extras, or other packages."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = {OWN: project["dependencies"]}
    groups |= {f"{OWN}[{extra}]": wanted for extra, wanted in project["optional-dependencies"].items()}
    needed: dict[str, set[str]] = {}
    todo: list[tuple[str, frozenset[str]]] = []
    for by, wanted in groups.items():
        for requirement in applying(wanted, frozenset()):
            name = canonicalize_name(requirement.name)
            if name != OWN:
                needed.setdefault(name, set()).add(by)
                todo.append((name, frozenset(requirement.extras)))
    seen = set(todo)
    while todo:
        name, extras = todo.pop()
        for requirement in applying(_requires(name), extras):
            other = canonicalize_name(requirement.name)
            needed.setdefault(other, set()).add(name)
            following = other, frozenset(requirement.extras)
            if following not in seen:
                seen.add(following)
                todo.append(following)
    return needed


def applying(requirements: Iterable[str], extras: frozenset[str]) -> list[Requirement]:
    """The requirements whose markers hold here, with one of these extras or without any."""
    every = [Requirement(text) for text in requirements]
    return [r for r in every if r.marker is None or any(r.marker.evaluate({"extra": e}) for e in ("", *extras))]


def _requires(name: str) -> list[str]:
    try:
        found = requires(name) or []
    except PackageNotFoundError:  # for another platform or Python
        return []
    # torch's builds differ in what they bring for accelerators: the pins are those of its build for CPUs.
    return [text for text in found if name != "torch" or not text.startswith(("nvidia-", "cuda-", "triton"))]


def imported(package: Path) -> set[str]:
    """The packages whose modules our code imports, wherever in a file it does."""
    modules: set[str] = set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                modules.add(node.module.partition(".")[0])
    providers = packages_distributions()
    return {canonicalize_name(name) for module in modules for name in providers.get(module, [])}


if __name__ == "__main__":
    main()
