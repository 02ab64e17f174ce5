"""A whole run from one file: collect, every stage in order, report.

Invariant: running it again does only what changed inputs or settings require, and says which and why; an interrupted
run resumes.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
import tomllib
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from neurolocal.config import CollectConfig, ControlConfig, Method, ScaleConfig
from neurolocal.errors import ConfigError, LLMError, NeurolocalError, first_line
from neurolocal.files import readable_path
from neurolocal.literals import SIDES, Side
from neurolocal.pipeline.requirements import require_run
from neurolocal.pipeline.stages import all_stages, run_stage
from neurolocal.pipeline.workspace import Workspace
from neurolocal.stage import Engine, Say, Stage, in_this_process
from neurolocal.storage import Address, located, refuse_address


@dataclass(frozen=True)
class Run:
    """What a run is made from, and where its results go."""

    subject: str
    """Model folder, .gguf file, or a name in the local hub cache."""
    corpus: Path | Address
    """Text: a path, or an address of other storage."""
    store: Path
    """The HDF5 file; the reports are written beside it."""
    tokenizer: str | None = None
    """Tokenizer folder or name, where the subject brings none."""
    layers: tuple[int, ...] | None = None
    """Layers to analyse, of those collected; None is all."""
    sides: tuple[Side, ...] = SIDES
    """Lists to analyse, each by itself: `largest`, `smallest`, sign cases."""
    vectors: str = "glove"
    """`glove`, `corpus` or a file."""
    llm: str | None = None
    """A GGUF file that describes; None describes from token counts alone."""
    device: str | None = None
    """Torch device."""
    untrained: int | None = None
    """Seed of weights that are drawn anew; None is the trained ones."""
    configs: Mapping[str, Any] = field(default_factory=dict)
    """Settings by table: `collect`, and the name of each stage. What is missing has its defaults."""

    @property
    def collect(self) -> CollectConfig:
        """The settings of the collection."""
        return self.configs.get("collect", CollectConfig())

    @property
    def scale(self) -> ScaleConfig:
        """Where collection, perturbation, summary and score run."""
        return self.configs.get("scale", ScaleConfig())

    @property
    def control(self) -> ControlConfig:
        """What the verdicts are held against."""
        return self.configs.get("control", ControlConfig())

    def config(self, stage: Stage) -> Any:
        """The settings of a stage."""
        return self.configs.get(stage.name, stage.config())

    @property
    def method(self) -> Method:
        """The method of the ranking: that of the similarity stage."""
        return getattr(self.configs.get("similarity"), "method", "default")

    @property
    def json(self) -> Path:
        """Where the JSON report goes."""
        return self.store.with_suffix(".json")

    @property
    def page(self) -> Path:
        """Where the HTML page goes."""
        return self.store.with_suffix(".html")


Collect = Callable[[Run, Say], bool]
"""Collects what a run says; returns whether the store is complete."""


def tables() -> dict[str, type]:
    """The tables of a RUN.toml beside [run], each with the type of its settings, in run order."""
    own = {"collect": CollectConfig, "scale": ScaleConfig, "control": ControlConfig}
    return own | {stage.name: stage.config for stage in all_stages()}


def read_run(path: Path) -> Run:
    """A RUN.toml: a table [run] with the fields of `Run`, and a table a stage with the fields of its config.

    Relative paths start at the file's folder.

    Raises:
        ConfigError: no such file, no TOML, an unknown or missing field, or a value that cannot be.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        what = "it is a folder" if path.is_dir() else (error.strerror or str(error)).lower()
        raise ConfigError(f"reading the run {path}: {what}. Give a TOML file; the README has an example.") from error
    except RecursionError as error:
        raise ConfigError(f"reading the run {path}: it is nested too deep. It must be a TOML file.") from error
    except ValueError as error:  # no UTF-8, no TOML, a number of thousands of digits
        raise ConfigError(f"reading the run {path}: {first_line(error)}. It must be a TOML file.") from error
    kinds = tables()
    _require_known(found, {"run", *kinds}, f"{path}: tables")
    run = found.get("run", {})
    names = {f.name for f in dataclasses.fields(Run)} - {"configs"}
    _require_known(run, names, f"{path}: [run]")
    missing = [name for name in ("subject", "corpus", "store") if name not in run]
    if missing:
        raise ConfigError(f"reading the run {path}: [run] lacks {', '.join(missing)}")
    configs = {name: _config(kinds[name], found[name], f"{path}: [{name}]") for name in kinds if name in found}
    run = _typed(run, get_type_hints(Run), f"{path}: [run]")
    for name in ("sides", "layers"):
        if run.get(name) == ():
            raise ConfigError(f"{path}: [run]: {name} = []: give one or more, or omit it")
    here = path.parent
    for name in ("subject", "tokenizer", "vectors", "llm"):
        if name in run and _there(here / str(run[name]), f"{path}: [run]: {name} =").exists():
            run[name] = str(here / str(run[name]))
    for name in ("corpus", "store"):
        run[name] = _place(here, run[name], f"{path}: [run]: {name} =")
    if isinstance(run["store"], Address):
        refuse_address(str(run["store"]), doing=f"{path}: [run]: store =", error=ConfigError)
    return Run(**run, configs=configs)


def _place(here: Path, text: str, doing: str) -> Path | Address:
    place = located(text, doing=doing, error=ConfigError)
    return place if isinstance(place, Address) else _there(here / place, doing)


def _there(path: Path, doing: str) -> Path:
    return readable_path(path, doing=doing, error=ConfigError)


def run_all(
    run: Run, *, limit: int, say: Say, needs_llm: bool = True, until: str | None = None, collect: Collect | None = None,
    engine: Engine = in_this_process,
) -> None:  # fmt: skip
    """Do every stage, then print the ranked table, the paths and the times.

    The reports are also written before each stage that takes long, with the verdicts that can be given by then.

    Args:
        run: what to do.
        limit: neurons a layer to print.
        say: receives a line for the user at a time.
        needs_llm: whether an LLM that cannot be used ends the run; otherwise the run does without.
        until: the last stage to do; None does all.
        collect: collects, and returns whether the store is complete; None collects in this process.
        engine: who does the parts of stages that work in parts.

    Raises:
        NeurolocalError: a path or name of the run is wrong, which is found before anything is computed; the collection
            was stopped; or as the stages say.
    """
    stages = _stages(until)
    require_run(run, needs_llm=needs_llm and any(stage.llm for stage in stages))
    times: dict[str, float] = {}
    workspace = _workspace(run, say)
    with _timed(times, "collect"):
        if not (collect or _collect)(run, say):
            raise NeurolocalError("stopped while collecting; the same command resumes it")
    early = [stage for stage in stages if stage.slow]
    if run.llm is not None:
        early += [stage for stage in stages if stage.llm][:1]
    for stage in stages:
        if not stage.wanted(workspace, run.config(stage)):
            continue
        if stage in early and _has_not_run(stage, workspace) and not _page_is_current(run, workspace):
            with _timed(times, f"report before {stage.name}"):
                _early_report(run, workspace, stages[stages.index(stage) :], limit=limit)
        with _timed(times, stage.name):
            workspace = _run_with_or_without_llm(
                stage, workspace, run.config(stage), needs_llm=needs_llm, engine=engine
            )
        if stage.name == "verdict" and run.control.untrained and run.untrained is None:
            with _timed(times, "control"):
                _untrained(run, workspace, collect=collect or _collect, engine=engine)
    with _timed(times, "report"):
        _report(run, limit, say)
    say("seconds " + ", ".join(f"{name} {seconds:.1f}" for name, seconds in times.items()))
    say(f"look at one neuron: neurolocal show {run.store} LAYER NEURON")


def _collect(run: Run, say: Say) -> bool:
    from neurolocal.pipeline.collect import Collection, collect_store
    from neurolocal.subject import load_subject

    config = run.collect
    subject = load_subject(
        run.subject, dtype=config.dtype, device=run.device, tokenizer=run.tokenizer, untrained=run.untrained
    )
    outcome = collect_store(Collection(subject, run.corpus, run.store, config), say=say, replace=True)
    return outcome is None or outcome.complete


def _untrained(run: Run, workspace: Workspace, *, collect: Collect, engine: Engine) -> None:
    """Run the control up to the verdicts, and write its counts beside the run's.

    Raises:
        NeurolocalError: the collection was stopped; or as the stages say.
    """
    from neurolocal.pipeline.control import untrained_run, write_counts

    control = untrained_run(run)
    workspace.say(f"control: the same on untrained weights, in {control.store}")
    if not collect(control, workspace.say):
        raise NeurolocalError("stopped while collecting the control; the same command resumes it")
    own = _workspace(control, workspace.say)
    for stage in _stages("verdict"):
        run_stage(stage, own, control.config(stage), engine=engine)
    write_counts(workspace, own, seed=run.control.seed)


def _workspace(run: Run, say: Say) -> Workspace:
    return Workspace(
        run.store, run.layers, sides=run.sides, subject=run.subject, tokenizer=run.tokenizer, vectors=run.vectors,
        llm=run.llm, method=run.method, device=run.device, say=say,
    )  # fmt: skip


def _run_with_or_without_llm(
    stage: Stage, workspace: Workspace, config: Any, *, needs_llm: bool, engine: Engine
) -> Workspace:
    """Run a stage; where the LLM cannot be used, perhaps without it. Gives the workspace for the stages that follow."""
    try:
        run_stage(stage, workspace, config, engine=engine)
    except LLMError as error:
        if workspace.llm is None or needs_llm:
            raise
        workspace.say(f"{stage.name}: {error} Going on without an LLM: descriptions come from token counts alone.")
        workspace = dataclasses.replace(workspace, llm=None)
        run_stage(stage, workspace, config, engine=engine)
    return workspace


def _stages(until: str | None) -> list[Stage]:
    """The stages up to the one of that name.

    Raises:
        ConfigError: there is none of that name.
    """
    stages = all_stages()
    names = [stage.name for stage in stages]
    if until is not None and until not in names:
        raise ConfigError(f"running until {until}: there is no such stage; they are {', '.join(names)}")
    return stages if until is None else stages[: names.index(until) + 1]


def _has_not_run(stage: Stage, workspace: Workspace) -> bool:
    return any(workspace.inputs(stage.name, layer, side) is None for layer, side in stage.places(workspace))


def _page_is_current(run: Run, workspace: Workspace) -> bool:
    from neurolocal.report import page_is_current

    return page_is_current(workspace.store, run.layers, path=run.page)


def _early_report(run: Run, workspace: Workspace, following: Sequence[Stage], *, limit: int) -> None:
    """Write the reports before the stages that follow. Verdicts rank the neurons, so those are given first."""
    verdict = next((stage for stage in following if stage.name == "verdict"), None)
    if verdict is not None and _has_not_run(verdict, workspace):
        run_stage(verdict, workspace, run.config(verdict))
    _report(run, limit if verdict is None else None, workspace.say)
    may_change = "" if verdict is None else ", which may change the verdicts"
    workspace.say(f"the page can be opened now; {following[0].name} follows{may_change}")


def _report(run: Run, limit: int | None, say: Say) -> None:
    """Write the reports, and print so many neurons a layer; None prints no table."""
    from neurolocal import report
    from neurolocal.store import Store

    with Store(run.store) as store:
        layers = store.require_layers(run.layers)
        rows = report.report_rows(store, layers)
        report.write_json(store, rows, path=run.json)
        report.write_page(store, layers, path=run.page)
        sys.stderr.flush()
        if limit is not None:
            verdicts = {layer: report.layer_verdicts(store, layer) for layer in layers}
            report.print_table(rows, out=sys.stdout, limit=limit, verdicts=verdicts)
            sys.stdout.flush()
    say(f"\nstore   {run.store}\nreport  {run.json}\npage    {run.page}")


@contextmanager
def _timed(times: dict[str, float], name: str) -> Generator[None, None, None]:
    began = time.monotonic()
    yield
    times[name] = time.monotonic() - began


def _config(kind: type, values: Any, where: str) -> Any:
    _require_known(values, {f.name for f in dataclasses.fields(kind)}, where)
    clean = _typed(values, get_type_hints(kind), where)
    try:
        return kind(**clean)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def _typed(values: dict[str, Any], hints: Mapping[str, Any], where: str) -> dict[str, Any]:
    """TOML's values as the fields want them; a list becomes a tuple, a whole number will do for a number."""
    clean = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    for name, value in clean.items():
        if not _fits(value, hints[name]):
            shown = json.dumps(value, ensure_ascii=False, default=str)
            raise ConfigError(f"{where}: {name} = {shown}: expected {_expected(hints[name])}")
    return {
        name: float(value) if type(value) is int and hints[name] is float else value for name, value in clean.items()
    }


def _fits(value: Any, hint: Any) -> bool:
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return value in inner
    if origin in (Union, UnionType):
        return any(_fits(value, one) for one in inner)
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(one, inner[0]) for one in value)
    return type(value) in {float: (float, int), Path: (str,), Address: ()}.get(hint, (hint,))


def _expected(hint: Any) -> str:
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return f"one of {', '.join(map(str, inner))}"
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(_expected(one) for one in inner if one is not type(None)))
    if origin is tuple:
        return "a list of whole numbers" if inner[0] is int else f"a list of {', '.join(map(str, get_args(inner[0])))}"
    return {int: "a whole number", float: "a number", bool: "true or false"}.get(hint, "text in quotes")


def _require_known(found: Any, names: set[str], where: str) -> None:
    if not isinstance(found, dict):
        raise ConfigError(f"{where}: expected a table, found {type(found).__name__}")
    unknown = sorted(set(found) - names)
    if unknown:
        raise ConfigError(f"{where}: unknown {', '.join(unknown)}; known are {', '.join(sorted(names))}")
