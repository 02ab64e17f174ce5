"""Write the table of settings into each room's README, from the docstrings of its config.

    python scripts/settings.py           # print the tables
    python scripts/settings.py --write   # put them between the markers in neurolocal/{room}/README.md

Invariant: the tables come from `pipeline.run.tables`, so a new stage has one. A test compares each README with them.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path

from markers import filled

from neurolocal.config import default_text, described
from neurolocal.pipeline.run import tables

ROOMS = Path(__file__).parents[1] / "neurolocal"

ELSEWHERE = {"control": "verdict"}
"""The room of a table that has none of its own."""


def main() -> None:
    """Print the tables, or write them."""
    for room, config in tables().items():
        if "--write" not in sys.argv:
            print(f"[{room}]\n\n{table(config)}\n")
            continue
        path = readme(room)
        path.write_text(with_settings(path.read_text(encoding="utf-8"), room, config), encoding="utf-8")


def readme(room: str) -> Path:
    """Where the table of these settings is."""
    return ROOMS / ELSEWHERE.get(room, room) / "README.md"


def table(config: type) -> str:
    """A Markdown table of a config's fields, their defaults and what they mean."""
    says = described(config)
    lines = ["| setting | default | meaning |", "| --- | --- | --- |"]
    for field in dataclasses.fields(config):
        text = re.sub(r";? ?None is [^.;]*", "", says[field.name])
        default = default_text(config, field.name)
        shown = default if field.default is None else f"`{default}`"
        lines.append(f"| `{field.name}` | {shown} | {text.replace('|', chr(92) + '|')} |")
    return "\n".join(lines)


def with_settings(readme: str, room: str, config: type) -> str:
    """A room's README with the table of its settings."""
    return filled(readme, f"<!-- settings {room} -->", "<!-- end settings -->", table(config))


if __name__ == "__main__":
    main()
