"""Options from a stage's settings, so that flags, RUN.toml and the documents cannot differ.

Invariant: every field of the config is a flag of its name, explained by the field's docstring and with its default.
Cost: the config's source is parsed once a command.
"""

# pyright: reportMissingTypeArgument=false
# ParamType is generic only in the latest click.

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

import click

from neurolocal.cli.options import example, place_options, say, store_argument
from neurolocal.config import ScaleConfig, default_text, described

if TYPE_CHECKING:
    from neurolocal.stage import Engine

Option = Callable[[Callable[..., Any]], Callable[..., Any]]
"""A click option."""


def config_options(
    config: type, *, without: Sequence[str] = (), types: dict[str, click.ParamType] | None = None
) -> Option:
    """The fields of a config as options; what is not given is None, so that a preset or the config decides.

    Args:
        config: a frozen dataclass with a docstring under each field.
        without: fields that are no option.
        types: click types of fields that click cannot tell from the annotation.
    """
    hints, says = get_type_hints(config), described(config)

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for field in reversed(dataclasses.fields(config)):
            if field.name in without:
                continue
            kind = (types or {}).get(field.name) or _kind(hints[field.name])
            text = re.sub(r";? ?None is [^.;]*", "", says[field.name]).replace("`", "").removesuffix(".")
            shown = f"{text}.  [default: {default_text(config, field.name)}]"
            names = [f"--{field.name.replace('_', '-')}", *(["--layer"] if field.name == "layers" else [])]
            if kind is bool:
                command = click.option(*names, is_flag=True, default=None, help=f"{text}.  [default: no]")(command)
            else:
                command = click.option(*names, field.name, type=kind, default=None, help=shown)(command)
        return command

    return decorate


def given(config: type, settings: dict[str, Any], **preset: Any) -> Any:
    """A config of the settings that were given, on top of a preset."""
    return config(**preset | {name: value for name, value in settings.items() if value is not None})


def stage_command(
    name: str, config: type, *, help: str, options: Sequence[Option] = (), shows: str | None = None,
    by_workers: bool = False,
) -> click.Command:  # fmt: skip
    """The command of a stage: the store, which neurons, what it needs, and its settings.

    Args:
        name: of the stage.
        config: its settings.
        help: the first line says what it asks.
        options: what it needs of `--subject`, `--vectors`, `--llm`, `--device`.
        shows: the example; None is the name and a store.
        by_workers: whether workers can share its work.
    """

    def run(path: Path, **given_options: Any) -> None:
        from neurolocal.pipeline.stages import run_stage

        engine = engine_of(given_options)
        workspace, settings = workspace_of(path, config, given_options)
        run_stage(name, workspace, given(config, settings), engine=engine)

    command: Callable[..., Any] = config_options(config)(worker_options(run) if by_workers else run)
    for option in reversed(options):
        command = option(command)
    command = store_argument(place_options(command))
    return click.command(name, help=help, epilog=example(shows or f"neurolocal {name} smol.h5 --layers 14"))(command)


def worker_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of a job that workers share, beside those that only a collection has."""
    return config_options(ScaleConfig, without=("shards", "shards_at"))(command)


def scale_of(options: dict[str, Any]) -> ScaleConfig:
    """Takes the options of `worker_options` out of a command's options."""
    names = [field.name for field in dataclasses.fields(ScaleConfig)]
    return given(ScaleConfig, {name: options.pop(name, None) for name in names})


def engine_of(options: dict[str, Any]) -> Engine:
    """Who does the parts of a stage; takes its options out of a command's options."""
    from neurolocal.stage import in_this_process

    scale = scale_of(options)
    if scale.engine == "single":
        return in_this_process
    from neurolocal.scale.neurons import stages_on_ray

    return stages_on_ray(scale)


def workspace_of(path: Path, config: type, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """A workspace from a command's options, and the options that are settings of the stage."""
    from neurolocal.pipeline.workspace import Workspace

    fields = {field.name for field in dataclasses.fields(config)}
    own = {name: value for name, value in options.items() if name in fields}
    rest = {name: value for name, value in options.items() if name not in fields}
    return Workspace(path, say=say, **rest), own


def _kind(hint: Any) -> Any:
    """The click type of an annotation."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return click.Choice(list(inner))
    if origin in (Union, UnionType):
        return next(_kind(one) for one in inner if one is not type(None))
    return hint
