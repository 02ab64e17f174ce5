"""What a machine does in a second: measured on it (`plan --calibrate`), or from a data sheet, and marked as such.

Invariant: a small JSON file that states its own source; a plan names it. Nothing in it depends on a corpus.
Cost: none.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neurolocal.config import described
from neurolocal.errors import ConfigError, first_line
from neurolocal.files import write_text

FORMAT = "neurolocal-plan-constants"
VERSION = 1

DEVICES = Path(__file__).with_name("plan_devices.json")
"""Constants that are shipped, by name."""


@dataclass(frozen=True)
class BlockRates:
    """How fast one kind of block runs in batches of one size."""

    d_model: int
    """Width of its residual stream."""
    d_mlp: int
    """Its neurons."""
    weights: int
    """Multiplications a token of its matrices."""
    dtype: str
    """What it computes in."""
    rows: int
    """Rows a batch."""
    row_length: int
    """Tokens a row."""
    matmul: float
    """FLOP/s of its matrices."""
    attention: float
    """FLOP/s of attention, counted over the positions that a position attends to."""
    elementwise: float
    """Seconds for each number of 8 d_model + 3 d_mlp of a token: norms, residuals, gates, and whatever is left."""
    batch_seconds: float
    """Seconds a batch outside the blocks: embedding, masks, Python."""
    kernel: float
    """Seconds an activation that enters no list, all cores together."""
    insert: float
    """Seconds for an example that enters a list."""
    layer_seconds: float
    """Seconds a layer and batch, however narrow the layer."""
    effects: float
    """Seconds of direct logit effects for a neuron and 1,000 token ids."""
    tokenizer: float
    """Tokens/s of the feed on one core with its tokenizer."""


@dataclass(frozen=True)
class Constants:
    """A machine or a device."""

    device: str
    """Its name."""
    source: str
    """`measured`, or what else the figures come from."""
    clock: str
    """`wall`, or `cpu`: processor time over the cores, for a machine that others use at the same time."""
    gpu: bool
    """Whether the model is on a GPU, and the feed in another process."""
    cores: int
    """CPU cores of a worker."""
    memory: float
    """Bytes of memory of the device; of a CPU, of the machine."""
    blocks: tuple[BlockRates, ...]
    """Kinds of blocks."""
    write: float
    """Bytes/s of a store that is written."""
    read: float
    """Bytes/s of files that are read."""
    merge: float
    """Bytes/s of shard stores that `merge` takes in."""
    start_seconds: float
    """Seconds from the command to the subject's first weight."""
    base: float
    """Bytes of memory of Python and its packages."""
    llm: float
    """FLOP/s of the local LLM on prompts, 2 a weight and token."""

    def rates(
        self, *, d_model: int, d_mlp: int, weights: float | int, dtype: str, rows: int, row_length: int
    ) -> BlockRates:
        """The kind of block that was measured and is nearest: the same dtype, then size, then batch.

        Raises:
            ConfigError: nothing was measured in this dtype.
        """
        same = [one for one in self.blocks if one.dtype == dtype]
        if not same:
            known = ", ".join(sorted({one.dtype for one in self.blocks}))
            raise ConfigError(
                f"planning in {dtype} for {self.device}: its constants are for {known or 'no dtype'}. Give one of "
                "these as --dtype, or measure this one: neurolocal plan --calibrate."
            )

        def distance(one: BlockRates) -> tuple[float, float]:
            size = abs(math.log(one.weights / weights)) + abs(math.log(one.d_model / d_model))
            size += abs(math.log(one.d_mlp / d_mlp))
            batch = abs(math.log(one.rows / rows)) + abs(math.log(one.row_length / row_length))
            return size, batch

        return min(same, key=distance)


def read_constants(name: str) -> Constants:
    """Constants from a file of `plan --calibrate`, or those that are shipped under a name.

    Raises:
        ConfigError: no such file or name, or the file is none of these.
    """
    shipped = json.loads(DEVICES.read_text(encoding="utf-8"))
    if name in shipped:
        return _checked(shipped[name], name)
    path = Path(name)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"reading the machine's constants {name}: {first_line(error)}. Give one of {', '.join(shipped)}, or a file "
            "that `neurolocal plan --calibrate --machine FILE` wrote."
        ) from error
    if not isinstance(found, dict) or found.get("format") != FORMAT or found.get("version") != VERSION:
        raise ConfigError(
            f"reading the machine's constants {name}: it is not of the format {FORMAT}, version {VERSION}. "
            "Write it again with `neurolocal plan --calibrate --machine FILE`."
        )
    return _checked(found, name)


def write_constants(path: Path, constants: Constants) -> None:
    """Write the file that `read_constants` reads."""
    facts = {"format": FORMAT, "version": VERSION, **dataclasses.asdict(constants)}
    write_text(path, json.dumps(facts, indent=1) + "\n", doing="writing the machine's constants")


def meanings() -> dict[str, str]:
    """What each constant is, by its name."""
    return described(Constants) | described(BlockRates)


def _checked(found: dict[str, Any], name: str) -> Constants:
    """The constants of a file; every number is finite and above 0."""
    try:
        plain: dict[str, Any] = _typed(Constants, found)
        blocks = [BlockRates(**_typed(BlockRates, one)) for one in found["blocks"]]
        plain["blocks"] = tuple(blocks)
        made = Constants(**plain)
        numbers: list[Any] = [v for v in vars(made).values() if isinstance(v, int | float)]
        numbers += [v for one in blocks for v in vars(one).values() if not isinstance(v, str)]
        texts: list[Any] = [made.device, made.source, made.clock, *(one.dtype for one in blocks)]
        positive = all(isinstance(v, int | float) and math.isfinite(v) and v >= 0 for v in numbers)
        rates = [made.write, made.read, made.merge, made.llm, made.cores, made.memory]
        rates += [v for one in blocks for v in (one.d_model, one.d_mlp, one.weights, one.rows, one.row_length)]
        rates += [v for one in blocks for v in (one.matmul, one.attention, one.tokenizer)]
        if not (positive and all(rate > 0 for rate in rates) and all(isinstance(text, str) for text in texts)):
            raise ValueError("a number is missing, negative or no number")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"reading the machine's constants {name}: {first_line(error)}. Write them again with "
            "`neurolocal plan --calibrate --machine FILE`."
        ) from error
    return made


def _typed(kind: type, found: dict[str, Any]) -> dict[str, Any]:
    """The fields of a dataclass, whole numbers as floats where it has floats."""
    return {
        field.name: float(found[field.name]) if field.type == "float" else found[field.name]
        for field in dataclasses.fields(kind)
    }
