"""Print the README's table of settings from the config's own docstrings, so that the two cannot part."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
from typing import Any

from neurolocal import config


def main() -> None:
    """Print one Markdown table a stage."""
    print("\n\n".join(table(f.name, type(f.default_factory())) for f in dataclasses.fields(config.RunConfig)))  # type: ignore[misc]


def table(stage: str, kind: Any) -> str:
    """The settings of a stage."""
    body = ast.parse(inspect.getsource(kind)).body[0].body  # type: ignore[attr-defined]
    says: dict[str, str] = {}
    for field, text in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            says[field.target.id] = " ".join(str(text.value.value).split())  # type: ignore[union-attr]
    lines = [f"**[{stage}]**", "", "| setting | default | meaning |", "| --- | --- | --- |"]
    for field in dataclasses.fields(kind):
        none = "by the model" if "model" in says[field.name].partition("None")[2] else "all"
        default = none if field.default is None else f"`{field.default}`"
        lines.append(f"| `{field.name}` | {default} | {says[field.name]} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
