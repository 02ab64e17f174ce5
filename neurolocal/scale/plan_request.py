"""What a user asks for -> a plan: the subject's shape, the machine's constants, the size of the corpus.

Invariant: without `--calibrate` nothing is measured or written. Cost: importing torch and transformers for the shape.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurolocal.config import CollectConfig
from neurolocal.errors import ConfigError, SubjectError
from neurolocal.files import cache_folder
from neurolocal.scale.plan_constants import Constants, read_constants, write_constants
from neurolocal.scale.plan_job import Job
from neurolocal.stage import Say
from neurolocal.storage import Address
from neurolocal.subject.locate import require_subject

if TYPE_CHECKING:
    from neurolocal.scale.plan_cost import Plan
    from neurolocal.subject.shape import Shape
    from neurolocal.subject.tokenizers import Tokenizer

SHAPES = Path(__file__).with_name("plan_shapes.json")
"""Settings of well-known models by name, as in their `config.json`."""


@dataclass(frozen=True)
class Request:
    """The arguments of `neurolocal plan`."""

    subject: str
    """A name of `SHAPES`, or what `subject_shape` takes."""
    config: CollectConfig
    """The settings of the collection."""
    tokens: int | None
    """Tokens of the corpus."""
    rows: int | None
    """Or its rows."""
    machine: str | None
    """A shipped name, or a file; None is this machine's file in the cache."""
    corpus: Path | Address | None = None
    """Or the corpus itself, whose size is then estimated."""
    tokenizer: str | None = None
    """Tokenizer folder or name, where the subject brings none."""
    workers: int = 1
    """This and the following: see `Job`."""
    analyse: int = 0
    screen: int | None = None
    describe: int = 0
    score: int = 0
    llm_weights: float = 0.0
    ranges: bool = False
    shards: int | None = None


def planned(
    request: Request, *, measure: tuple[str | None, str] | None, say: Say
) -> tuple[Job, Constants, Plan] | None:
    """The plan; None where only the machine was to be measured.

    Args:
        request: what the user asks for.
        measure: torch device and clock of a measurement to make first; None makes none.
        say: receives a line at a time.

    Raises:
        ConfigError: settings that the subject does not allow, no size of the corpus, or no constants.
        SubjectError: no such subject.
    """
    _require_one_size(request, needed=measure is None)
    _require_subject(request)  # before torch is imported
    machine = _known_machine(request.machine) if measure is None else None
    from neurolocal.scale.plan_cost import plan

    shape = named_shape(request.subject)
    config = _resolved(request.config, shape)
    if measure is not None:
        machine = _measured_machine(request, shape, config, *measure, say)
    assert machine is not None
    rows, how = _rows(request, shape, config)
    if rows is None:
        return None
    job = Job(
        shape, config, rows, request.workers, request.ranges, request.shards, request.analyse, request.screen,
        request.describe, request.score, request.llm_weights, how,
    )  # fmt: skip
    if job.analysed > len(job.read):
        raise ConfigError(f"analyse = {job.analysed}: {len(job.read)} layers are collected; give at most so many")
    return job, machine, plan(job, machine)


def _require_subject(request: Request) -> None:
    """Refuse a subject that is not there.

    Raises:
        SubjectError: as said; or layers that it does not have.
    """
    path = Path(request.subject)
    if request.subject in _shapes() or (path.name == "config.json" and path.is_file()):
        return
    try:
        require_subject(request.subject, layers=request.config.layers)
    except SubjectError as error:
        raise SubjectError(f"{error} Shapes that are known by name: {', '.join(_shapes())}.") from error


@functools.cache
def _shapes() -> dict[str, Any]:
    return json.loads(SHAPES.read_text(encoding="utf-8"))


def _require_one_size(request: Request, *, needed: bool) -> None:
    """Refuse a request that states the size of the corpus in two ways, or in none where it is needed.

    Raises:
        ConfigError: see above.
    """
    sizes = {"--tokens": request.tokens, "--rows": request.rows, "--corpus": request.corpus}
    given = [name for name, value in sizes.items() if value is not None]
    if len(given) > 1:
        raise ConfigError(f"planning: {' and '.join(given)} each state the size of the corpus. Give one of them.")
    if not given and needed:
        raise ConfigError(
            "planning: the size of the corpus is missing. Give --tokens, for example 10M, --rows, or --corpus."
        )


def _rows(request: Request, shape: Shape, config: CollectConfig) -> tuple[int | None, str]:
    """The rows of the corpus, and how they were estimated; None where the request states no size.

    Raises:
        CorpusError: the corpus cannot be read.
    """
    if request.tokens is not None:
        return math.ceil(request.tokens / (config.row_length - (config.bos == "prepend"))), ""
    if request.corpus is None:
        return request.rows, ""
    from neurolocal.scale.plan_corpus import corpus_size

    return corpus_size(request.corpus, config, _tokenizer(request, shape))


def named_shape(subject: str) -> Shape:
    """The shape of a subject: by a name of `SHAPES` where no such path exists, else from its files.

    Raises:
        SubjectError: no such subject.
    """
    from neurolocal.subject.shape import shape_of, subject_shape

    if subject in _shapes() and not Path(subject).exists():
        return shape_of(_shapes()[subject], subject)
    return subject_shape(subject)


def _resolved(config: CollectConfig, shape: Shape) -> CollectConfig:
    """The config with its sites.

    Raises:
        ConfigError: layers that the subject does not have, or sign cases without a gate.
    """
    deepest = len(shape.layers)
    if wrong := [layer for layer in config.layers or () if layer >= deepest]:
        raise ConfigError(f"layers {', '.join(map(str, wrong))}: {shape.name} has layers 0 to {deepest - 1}.")
    if config.sign_cases and not shape.gated:
        raise ConfigError(f"sign_cases = true: the MLPs of {shape.name} have no gate; omit the setting")
    return dataclasses.replace(config, sites=config.sites or ("post",))


def _own() -> Path:
    """Where the constants of this machine are."""
    return cache_folder("plan") / "machine.json"


def _known_machine(name: str | None) -> Constants:
    """The constants of a machine by its name or file; None is this machine.

    Raises:
        ConfigError: there are none.
    """
    if name is None and not _own().is_file():
        raise ConfigError(
            "planning for this machine: it has not been measured. Run the command with --calibrate, or name "
            "another with --machine: h100, h200, a100, or a file."
        )
    return read_constants(name or str(_own()))


def _measured_machine(
    request: Request, shape: Shape, config: CollectConfig, device: str | None, clock: str, say: Say
) -> Constants:
    """The constants of this machine, measured now and written to the file that was asked for."""
    from neurolocal.scale.plan_calibrate import calibrate, merged

    assert clock in ("wall", "cpu")
    path = _own() if request.machine is None else Path(request.machine)
    found = calibrate(shape, config, say=say, device=device, tokenizer=_tokenizer(request, shape), clock=clock)
    if path.is_file():
        found = merged(read_constants(str(path)), found)
    write_constants(path, found)
    say(f"plan: the figures of this machine are in {path}")
    return found


def _tokenizer(request: Request, shape: Shape) -> Tokenizer | None:
    """The tokenizer that the request names, or the subject's; None where that brings none that can be read.

    Raises:
        SubjectError: the named one cannot be read.
    """
    from neurolocal.subject.load import subject_tokenizer
    from neurolocal.subject.tokenizers import find_tokenizer

    if request.tokenizer is not None:
        return find_tokenizer(Path(), given=request.tokenizer, d_vocab=shape.d_vocab)
    try:
        return subject_tokenizer(request.subject, d_vocab=shape.d_vocab)
    except SubjectError:
        return None
