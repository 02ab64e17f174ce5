"""A whole run from one file: collect, similarity, perturbation, verdict, summary, score, report.

Invariant: running it again does only what its inputs or settings changed, and says which and why; a stop goes on.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from neurolocal import scores, stages
from neurolocal.bench import Bench
from neurolocal.config import Method, RunConfig
from neurolocal.errors import ConfigError, LLMError, NeurolocalError
from neurolocal.kinds import SIDES, Side

Say = Callable[[str], None]


@dataclass(frozen=True)
class Recipe:
    """What a run is made from, and where its results go."""

    subject: str
    """Model folder, .gguf file, or a name in the local hub cache."""
    corpus: Path
    """Text."""
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
    config: RunConfig = field(default_factory=RunConfig)
    """Every stage's settings."""

    @property
    def method(self) -> Method:
        """The method of the ranking: that of the similarity stage."""
        return self.config.similarity.method

    @property
    def json(self) -> Path:
        """Where the JSON report goes."""
        return self.store.with_suffix(".json")

    @property
    def page(self) -> Path:
        """Where the HTML page goes."""
        return self.store.with_suffix(".html")


def read_recipe(path: Path) -> Recipe:
    """A RUN.toml: a table [run] with the fields of `Recipe`, and a table a stage with the fields of its config.

    Relative paths start at the file's folder.

    Raises:
        ConfigError: no such file, no TOML, an unknown or missing field, or a value that cannot be.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"reading the run {path}: no such file. See the README for an example.") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"reading the run {path}: {error}. It must be a TOML file.") from error
    parts = {f.name: f.default_factory for f in dataclasses.fields(RunConfig)}  # type: ignore[misc]
    _known(found, {"run", *parts}, f"{path}: tables")
    run = found.get("run", {})
    names = {f.name for f in dataclasses.fields(Recipe)} - {"config"}
    _known(run, names, f"{path}: [run]")
    missing = [name for name in ("subject", "corpus", "store") if name not in run]
    if missing:
        raise ConfigError(f"reading the run {path}: [run] lacks {', '.join(missing)}")
    configs = {name: _config(make, found.get(name, {}), f"{path}: [{name}]") for name, make in parts.items()}
    run = _typed(run, get_type_hints(Recipe), f"{path}: [run]")
    here = path.parent
    for name in ("subject", "tokenizer", "vectors", "llm"):
        if name in run and (here / str(run[name])).exists():
            run[name] = str(here / str(run[name]))
    run |= {"corpus": here / run["corpus"], "store": here / run["store"], "config": RunConfig(**configs)}
    return Recipe(**run)


def run_recipe(recipe: Recipe, *, limit: int, say: Say) -> None:
    """Do every stage, then print the ranked table, the paths and the times.

    Args:
        recipe: what to do.
        limit: neurons a layer to print.
        say: told what happens.
    """
    times: dict[str, float] = {}
    config, bench = recipe.config, _bench(recipe, say)
    with _timed(times, "collect"):
        if not _collect(recipe, say):
            raise NeurolocalError("stopped while collecting; the same command goes on where it stands")
    with _timed(times, "similarity"):
        stages.similarity(bench, config.similarity)
    with _timed(times, "perturbation"):
        stages.perturbation(bench, config.perturbation)
    with _timed(times, "verdict"):
        stages.verdict(bench, config.verdict, method=recipe.method)
    with _timed(times, "summary"):
        bench = _summary(bench, recipe, say)
    with _timed(times, "score"):
        if config.score.limit != 0 and recipe.method == "default":
            scores.score(bench, config.score)
    with _timed(times, "report"):
        _report(recipe, limit)
    say(f"\nstore   {recipe.store}\nreport  {recipe.json}\npage    {recipe.page}")
    say("seconds " + ", ".join(f"{name} {seconds:.1f}" for name, seconds in times.items()))
    say(f"look at one neuron: neurolocal show {recipe.store} LAYER NEURON")


def _collect(recipe: Recipe, say: Say) -> bool:
    from neurolocal.corpus import corpus_files
    from neurolocal.run import Collection, collect_stage
    from neurolocal.subject import load_subject

    corpus_files(recipe.corpus)
    config = recipe.config.collect
    subject = load_subject(recipe.subject, dtype=config.dtype, device=recipe.device, tokenizer=recipe.tokenizer)
    outcome = collect_stage(Collection(subject, recipe.corpus, recipe.store, config), say=say, replace=True)
    return outcome is None or outcome.complete


def _bench(recipe: Recipe, say: Say) -> Bench:
    return Bench(
        recipe.store, recipe.layers, sides=recipe.sides, subject=recipe.subject, tokenizer=recipe.tokenizer,
        vectors=recipe.vectors, llm=recipe.llm,
        device=recipe.device, say=say,
    )  # fmt: skip


def _summary(bench: Bench, recipe: Recipe, say: Say) -> Bench:
    """Describe; what it was done with, without the LLM where that cannot be used."""
    try:
        stages.summary(bench, recipe.config.summary)
    except LLMError as error:
        say(f"summary: {error} Going on without an LLM: descriptions come from token counts alone.")
        bench = dataclasses.replace(bench, llm=None)
        stages.summary(bench, recipe.config.summary)
    return bench


def _report(recipe: Recipe, limit: int) -> None:
    from neurolocal import report
    from neurolocal.store import Store

    with Store(recipe.store) as store:
        layers = store.require_layers(None if recipe.layers is None else list(recipe.layers))
        rows = report.report_rows(store, layers)
        report.write_json(store, rows, path=recipe.json)
        report.write_page(store, layers, path=recipe.page)
        sys.stderr.flush()
        report.print_table(rows, out=sys.stdout, limit=limit)
        sys.stdout.flush()


@contextmanager
def _timed(times: dict[str, float], name: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    times[name] = time.monotonic() - began


def _config(make: Any, values: dict[str, Any], where: str) -> Any:
    kind = type(make())
    _known(values, {f.name for f in dataclasses.fields(kind)}, where)
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
    return clean


def _fits(value: Any, hint: Any) -> bool:
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return value in inner
    if origin in (Union, UnionType):
        return any(_fits(value, one) for one in inner)
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(one, inner[0]) for one in value)
    return type(value) in {float: (float, int), Path: (str,)}.get(hint, (hint,))


def _expected(hint: Any) -> str:
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return f"one of {', '.join(map(str, inner))}"
    if origin in (Union, UnionType):
        return " or ".join(_expected(one) for one in inner if one is not type(None))
    if origin is tuple:
        return "a list of whole numbers" if inner[0] is int else f"a list of {', '.join(map(str, get_args(inner[0])))}"
    return {int: "a whole number", float: "a number", bool: "true or false"}.get(hint, "text in quotes")


def _known(found: Any, names: set[str], where: str) -> None:
    if not isinstance(found, dict):
        raise ConfigError(f"{where}: expected a table, found {type(found).__name__}")
    unknown = sorted(set(found) - names)
    if unknown:
        raise ConfigError(f"{where}: unknown {', '.join(unknown)}; known are {', '.join(sorted(names))}")
