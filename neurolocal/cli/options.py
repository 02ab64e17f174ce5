"""What the commands share: kinds of values (`0,3,5-7`, `post,pre`, `0/4`), options of many commands, and `say`.

Invariant: imports click alone, so that help answers at once.
"""

# pyright: reportMissingTypeArgument=false
# ParamType is generic only in the latest click.

from __future__ import annotations

import os
import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, cast, get_args

import click

from neurolocal.literals import CASES, SIDES, Side, Site

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
"""Context settings of every group."""


until_option = click.option("--until", metavar="STAGE", help="Stop after this stage, e.g. verdict.  [default: do all]")


SUFFIXES = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9, "t": 10**12}
"""The letters that may follow a count: as of parameters and tokens in the field, B is a thousand millions."""


class FilePath(click.Path):
    """A path of this machine, as a `Path`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """As click wants it.

        Raises:
            NeurolocalError: no path that the system can look at: too long, or in a folder without permission.
        """
        from neurolocal.files import readable_path
        from neurolocal.storage.address import refuse_address

        text = os.fsdecode(super().convert(value, param, ctx))
        refuse_address(text, doing=_option(param))
        return readable_path(text)


class Place(click.ParamType):
    """A path of this machine, as a `Path`, or an address of other storage, as an `Address`."""

    name = "path|address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """As click wants it.

        Raises:
            NeurolocalError: no path that the system can look at, or no address that can be used.
        """
        from neurolocal.files import readable_path
        from neurolocal.storage.address import Address, located

        place = value if not isinstance(value, str) else located(value, doing=_option(param))
        return place if isinstance(place, Address) else readable_path(place)


def _option(param: click.Parameter | None) -> str:
    """How an error about the value of an option begins."""
    return f"reading {param.opts[0]}" if param is not None else "reading the command"


class Ordered(click.Group):
    """Commands in the order in which they were added, not of the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """As they were added."""
        return list(self.commands)


def say(line: str) -> None:
    """Print one line for a person, nothing in it hidden; results that a program reads go to standard output."""
    from neurolocal.render.visible import visible

    click.echo("\n".join(map(visible, line.split("\n"))), err=True)


def example(text: str) -> str:
    """The end of a command's help."""
    return f"\b\nExample:\n  {text}"


class Numbers(click.ParamType):
    """`0,3,5-7` -> (0, 3, 5, 6, 7)."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """As click wants it."""
        if isinstance(value, tuple):
            return value
        found: set[int] = set()
        for part in str(value).split(","):
            match = re.fullmatch(r"([0-9]{1,6})(?:-([0-9]{1,6}))?", part.strip())
            numbers = range(int(match[1]), int(match[2] or match[1]) + 1) if match else ()
            if not numbers:
                self.fail(f"{value!r}: give numbers and ranges, for example 0,3,5-7", param, ctx)
            found.update(numbers)
        return tuple(sorted(found))


class Count(click.ParamType):
    """`10M` -> 10000000: a count of rows, tokens or weights; also `300B`, `1.5T`, `1e9`, `10_000`, `10,000`."""

    name = "count"

    def __init__(self, least: int = 1) -> None:
        """`least`: the smallest count that can be meant."""
        self.least = least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """As click wants it."""
        text = str(value).strip().replace("_", "").replace(",", "")
        match = re.fullmatch(r"([0-9]{1,30}(?:\.[0-9]{1,30})?(?:[eE]\+?[0-9]{1,2})?)([kKmMbBgGtT]?)", text)
        if not match:
            self.fail(f"{value!r}: give a count, for example 500, 10k, 10M, 300B, 1.5T or 1e9", param, ctx)
        found = Fraction(match[1]) * SUFFIXES[match[2].lower()]
        if found < self.least or found.denominator != 1:
            self.fail(f"{value!r} is {float(found):,}: give a whole number of at least {self.least}", param, ctx)
        return int(found)


class Neurons(click.ParamType):
    """`14:159,160` -> ((14, 159), (None, 160)): each a neuron, with its layer or without."""

    name = "neurons"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[tuple[int | None, int], ...]:
        """As click wants it."""
        if isinstance(value, tuple):
            return value
        matches = [re.fullmatch(r"(?:([0-9]{1,6}):)?([0-9]{1,9})", part.strip()) for part in str(value).split(",")]
        if not all(matches):
            self.fail(f"{value!r}: give LAYER:NEURON, for example 14:159,3:20", param, ctx)
        return tuple((None if match[1] is None else int(match[1]), int(match[2])) for match in matches if match)


class Sites(click.ParamType):
    """`post,pre` -> ("post", "pre")."""

    name = "sites"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Site, ...]:
        """As click wants it."""
        if isinstance(value, tuple):
            return value
        found = tuple(part.strip() for part in str(value).split(","))
        if not set(found) <= set(get_args(Site)):
            self.fail(f"{value!r}: give some of {', '.join(get_args(Site))}, for example post,pre", param, ctx)
        return cast("tuple[Site, ...]", found)


class Names(click.ParamType):
    """`assistant,user` -> ("assistant", "user")."""

    name = "names"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """As click wants it."""
        if isinstance(value, tuple):
            return value
        return tuple(dict.fromkeys(part.strip() for part in str(value).split(",")))


class Sides(click.ParamType):
    """`largest,gate+_in+` -> ("largest", "gate+_in+"); `ends` and `cases` are the two ends and the sign cases."""

    name = "sides"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Side, ...]:
        """As click wants it."""
        if isinstance(value, tuple):
            return value
        groups = {"ends": SIDES, "cases": CASES}
        parts = [part.strip() for part in str(value).split(",")]
        found = [side for part in parts for side in groups.get(part, (part,))]
        if not set(found) <= set(get_args(Side)):
            self.fail(f"{value!r}: give some of {', '.join(get_args(Side))}, ends, cases", param, ctx)
        return cast("tuple[Side, ...]", tuple(dict.fromkeys(found)))


class Shard(click.ParamType):
    """`0/4` -> (0, 4)."""

    name = "I/N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """As click wants it."""
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", str(value))
        if not match or int(match[1]) >= int(match[2]):
            self.fail(f"{value!r}: give I/N with I from 0 to N-1, for example 0/4", param, ctx)
        return int(match[1]), int(match[2])


store_argument = click.argument("path", metavar="STORE", type=FilePath())


def layers_option(default: str) -> Callable[..., Any]:
    """Layers, in every command that looks at some: `--layers`, or `--layer`, which reads better with one."""
    return click.option(
        "--layers", "--layer", "layers", type=Numbers(), help=f"Layers, e.g. 14 or 0,3,5-7.  [default: {default}]"
    )


def place_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Which layers, site and sides: the options of everything that looks at neurons."""
    for option in reversed((
        layers_option("all collected"),
        click.option("--site", type=click.Choice(get_args(Site)), help="Which site.  [default: the store's first]"),
        click.option("--side", "sides", type=Sides(), default="ends", show_default=True,
                     help="Lists: largest, smallest, gate+_in+, …; ends: the first two, cases: the sign cases."),
    )):  # fmt: skip
        command = option(command)
    return command


method_option = click.option(
    "--method",
    type=click.Choice(["default", "notebook"]),
    default="default",
    show_default=True,
    help="Our own ranking, or the original notebook's, step by step.",
)
llm_option = click.option("--llm", type=click.Path(), help="A GGUF file that describes and judges.  [default: none]")
replace_option = click.option(
    "--replace", is_flag=True, help="Replace what an LLM made, even where no LLM is given now."
)
site_option = click.option(
    "--site", type=click.Choice(get_args(Site)), help="Which of the store's sites.  [default: its first]"
)
side_option = click.option(
    "--side", type=click.Choice(get_args(Side)), default="largest", show_default=True, help="Which list."
)
vectors_option = click.option(
    "--vectors",
    default="glove",
    show_default=True,
    help="Word vectors: glove, corpus (FastText trained on it), or a file.",
)
subject_option = click.option(
    "--subject", help="Model folder, .gguf or cached name.  [default: the one the store names]"
)
device_option = click.option("--device", help="Torch device.  [default: cuda where there is one, else cpu]")
seed_option = click.option("--seed", type=int, default=0, show_default=True, help="Seed of whatever is drawn.")
