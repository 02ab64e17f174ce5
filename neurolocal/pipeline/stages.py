"""Run a stage on a store: for each layer and side compare its inputs, do the work where they changed, write the table.

Invariant: a table is kept with what it was made from (settings, and the hashes of collection, vectors, subject, LLM and
earlier tables). Unchanged, it is used again; changed, it is made again and the reason is said. Only this process writes
the store, whoever does the work.
Cost: that of the rooms, and one copy of the store every `FLUSH` seconds.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import time
from collections.abc import Iterable
from typing import Any

from neurolocal.config import canonical, differences
from neurolocal.errors import StoreError
from neurolocal.files import require_place
from neurolocal.literals import Side
from neurolocal.pipeline.journal import remove_journal
from neurolocal.pipeline.parts import PartsRun
from neurolocal.pipeline.workspace import FACTS, Workspace
from neurolocal.records import TABLES
from neurolocal.stage import Engine, Parts, Result, Stage, in_this_process

FLUSH = 30.0
"""Seconds of finished layers that a kill may cost; a write copies the store."""


def stage(name: str) -> Stage:
    """The stage of that name: `STAGE` in the module `stage` of its folder."""
    return importlib.import_module(f"neurolocal.{name}.stage").STAGE


def all_stages() -> list[Stage]:
    """Every stage, in run order."""
    return [stage(name) for name in TABLES]


def run_stage(
    chosen: str | Stage, workspace: Workspace, config: Any = None, *, engine: Engine = in_this_process
) -> None:  # fmt: skip
    """Bring a stage's tables up to date for the layers and sides that the workspace asks for.

    Args:
        chosen: the stage, or its name.
        workspace: the store, and what goes with it.
        config: the stage's settings; None is the defaults.
        engine: who does the parts of work that is given in parts.

    Raises:
        StoreError: a layer or side that the store does not hold, an unfinished collection, or a store that cannot be
            written; what was finished before is kept.
        NeurolocalError: see the stage; or the engine could not do some parts.
    """
    one = stage(chosen) if isinstance(chosen, str) else chosen
    config = one.config() if config is None else config
    places = one.places(workspace)
    require_place(workspace.path, doing=f"running {one.name} on", error=StoreError)
    _require_llm(one, workspace, config, places)
    todo, reused = _todo(one, workspace, config, places)
    done, began = list[int](), time.monotonic()
    if todo:
        with one.work(workspace, config) as work, contextlib.ExitStack() as stack:
            writer = stack.enter_context(_Writer(one, workspace))
            if isinstance(work, Parts):
                results = PartsRun(one, workspace, config, work, todo).results(engine)
            else:
                results = ((*place, work(*place)) for place in todo)
            for layer, side, result in stack.enter_context(contextlib.closing(results)):
                done.append(layer)
                writer.add(layer, side, result, todo[layer, side])
    if done:
        seconds = time.monotonic() - began
        workspace.say(f"{one.name}: {_numbers(done)} in {workspace.path}, {seconds:.0f} s")
    if reused:
        whose = "their" if len(set(reused)) > 1 else "its"
        workspace.say(f"{one.name}: {_numbers(reused)} there and {whose} inputs are unchanged; not done again")


def _todo(
    one: Stage, workspace: Workspace, config: Any, places: Iterable[tuple[int, Side]]
) -> tuple[dict[tuple[int, Side], dict[str, Any]], list[int]]:
    """The layers and sides to do, each with what its table is made from; and the layers that are there already."""
    todo, reused = dict[tuple[int, Side], dict[str, Any]](), list[int]()
    for layer, side in places:
        new, old = made_from(one, workspace, config, layer, side), workspace.inputs(one.name, layer, side)
        if old == new:
            remove_journal(workspace.journal_path(one.name, layer, side))
            reused.append(layer)
            continue
        if old is not None:
            where = f"layer {layer}" if side == "largest" else f"layer {layer}, {side},"
            workspace.say(f"{one.name}: {where} again, since {'; '.join(differences(old, new)[:3])}")
        todo[layer, side] = new
    return todo, reused


class _Writer:
    """Writes tables some seconds after they were made, and what is left at the end, however that comes."""

    def __init__(self, one: Stage, workspace: Workspace) -> None:
        self.one, self.workspace = one, workspace
        self.finished: list[tuple[str, int, Side, Any, dict[str, Any]]] = []
        self.last = time.monotonic()

    def add(self, layer: int, side: Side, result: Result, made: dict[str, Any]) -> None:
        table, facts = result
        made = made if facts is None else made | {FACTS: dict(facts)}
        self.finished.append((self.one.name, layer, side, table, made))
        if time.monotonic() - self.last > FLUSH:
            self.write()

    def write(self) -> None:
        from neurolocal.store import add_evidence

        workspace = self.workspace
        if self.finished:
            site, manifest = workspace.store.site, workspace.store.manifest
            workspace.reload()  # Windows replaces no file that is open
            add_evidence(workspace.path, self.finished, site=site, manifest=manifest, say=workspace.say)
            for _, layer, side, _, _ in self.finished:
                remove_journal(workspace.journal_path(self.one.name, layer, side))
            self.finished.clear()
        self.last = time.monotonic()

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self.write()


def _numbers(layers: list[int]) -> str:
    """`layer 1 is`, `layers 1, 3 are`."""
    named = list(dict.fromkeys(layers))
    return f"layer{'s' if len(named) > 1 else ''} {', '.join(map(str, named))} {'are' if len(named) > 1 else 'is'}"


def _require_llm(one: Stage, workspace: Workspace, config: Any, places: Iterable[tuple[int, Side]]) -> None:
    """Refuse to replace what an LLM made by what is made without one.

    Raises:
        StoreError: a table was made with an LLM, and none is given.
    """
    if workspace.llm is not None or workspace.replace:
        return
    for layer, side in places:
        used = (workspace.inputs(one.name, layer, side) or {}).get("llm")
        if used is not None and made_from(one, workspace, config, layer, side).get("llm") is None:
            name = used.get("name") if isinstance(used, dict) else used
            raise StoreError(
                f"running {one.name} on {workspace.path}: layer {layer} was made with the LLM {name}, and no LLM is "
                f"given, so its results would be replaced by poorer ones. Pass --llm, or --replace to replace them."
            )


def made_from(one: Stage, workspace: Workspace, config: Any, layer: int, side: Side) -> dict[str, Any]:
    """What decides whether a table is made again, as plain values."""
    own = one.inputs(workspace, config, layer, side)
    common = {"collection": workspace.collection, "config": dataclasses.asdict(config), "revision": one.revision}
    return json.loads(canonical(common | own))
