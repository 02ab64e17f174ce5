"""GLUScope's example files -> a store: a gated neuron's activations over some texts, with its projections' signs.

A file holds `tokens`, `values` (one list of figures a token) and `labels` (their names), of which `hook_post`,
`hook_pre` and `hook_pre_linear` are the store's sites `post`, `pre` and `pre_linear`; its name says layer, neuron and
sign case, `L22_N2589_gatep_inp_hook_post_example_0.json`. The others follow from these (the case's masked activation is
compared with them, `swish` is the activation function) and are not kept. A file names no row, so rows are
numbered by their order. Source: https://github.com/sjgerstner/neuroscope.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32

from neurolocal.config import sha256
from neurolocal.errors import StoreError
from neurolocal.neuroscope.gathered import Rows, Stored, folder_of
from neurolocal.neuroscope.known import Known
from neurolocal.neuroscope.known_store import Told, settings, write_known
from neurolocal.neuroscope.sheets import Numbers
from neurolocal.records import Place, Site

SITES: dict[str, Site] = {"hook_post": "post", "hook_pre": "pre", "hook_pre_linear": "pre_linear"}
"""Labels that are sites."""

MASKED = re.compile(r"gate([+-])_in([+-])_hook_post")
"""The label of the activation where gate and in projection have these signs, and 0 elsewhere."""

LARGEST = float(np.finfo(np.float32).max)

NAME = re.compile(r"L([0-9]{1,6})_N([0-9]{1,9})_.*\.json")


class Example(NamedTuple):
    """One file."""

    layer: int
    neuron: int
    tokens: list[str]
    values: dict[Site, Float32[np.ndarray, "pos"]]


def import_gluscope(
    files: Sequence[Path], out: Path, *, model: str | None = None, say: Callable[[str], None] = print
) -> tuple[int, int]:
    """Read example files and write a store; how many texts it holds, in how many rows.

    Args:
        files: any number of them, of one model.
        out: the store to write; what is there is replaced.
        model: what the model is called, which the files do not say.
        say: told of files that say what an earlier one says.

    Raises:
        StoreError: a file is not as it should be, or the store cannot be written.
    """
    examples = [read_example(path) for path in files]
    numbers, of = dict[tuple[str, ...], int](), dict[tuple[int, int], list[tuple[int, Example]]]()
    strings = Numbers()
    with folder_of(out) as folder, closing(Rows(folder)) as rows:
        for path, one in zip(files, examples, strict=True):
            row = numbers.setdefault(tuple(one.tokens), len(numbers))
            mine = of.setdefault((one.layer, one.neuron), [])
            if row in (number for number, _ in mine):
                say(f"import: {path.name} has the text of an earlier file of this neuron; the first is kept")
                continue
            before = len(strings)
            codes = np.array([strings[token] for token in one.tokens], np.uint32)
            rows.add(row, "", 0, rows.number(0, strings.strings[before:], codes), whole=True)
            mine.append((row, one))
        stored = rows.stored(set())
    k, count = max(map(len, of.values())), sum(map(len, of.values()))
    sites: list[Site] = [site for site in SITES.values() if all(site in e.values for e in examples)]
    signed = {"post", "pre", "pre_linear"} <= set(sites)
    places: dict[Place, list[int]] = {}
    for site in sites:
        for layer, neuron in sorted(of):
            places.setdefault((site, layer), []).append(neuron)

    def told(place: Place, neuron: int) -> Told:
        mine = sorted(of[place[1], neuron], key=lambda pair: pair[0])
        whole = {site: _table([one.values[site] for _, one in mine]) for site in sites}
        values = whole[place[0]]
        peaks = np.nanargmax(values, axis=1).astype(np.int32)
        known = Known(np.array([row for row, _ in mine], np.int64), peaks, values)
        none = np.full((len(mine), 2), np.nan)
        signs = (whole["pre"], whole["pre_linear"]) if signed else None
        return Told(known, np.arange(len(mine), dtype=np.int32), none, float("nan"), signs)

    write_known(
        out, _manifest(files, stored, model, settings(stored, {}, sites=sites, k=k, cases=signed)), stored, places, told
    )
    return count, len(stored.rows.index)


def read_example(path: Path) -> Example:
    """One file, checked.

    Raises:
        StoreError: it is not as it should be.
    """

    def refuse(what: str) -> StoreError:
        return StoreError(f"importing {path}: {what}. Expected a GLUScope example with tokens, values and labels.")

    named = NAME.fullmatch(path.name)
    if named is None:
        raise refuse("its name does not say layer and neuron, as L22_N2589_….json does")
    try:
        said = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda name: None)
    except (OSError, ValueError, RecursionError) as error:
        raise refuse(f"it is no whole JSON ({str(error)[:60]})") from error
    if not isinstance(said, dict) or not all(
        isinstance(said.get(name), list) for name in ("tokens", "values", "labels")
    ):
        raise refuse("it lacks tokens, values or labels")
    tokens, labels = said["tokens"], said["labels"]
    if not tokens or len(said["values"]) != len(tokens) or not all(type(label) is str for label in labels):
        raise refuse(f"it has {len(said['values'])} values for {len(tokens)} tokens, or a label that is no text")
    if len(set(labels)) != len(labels):
        raise refuse("it has a label twice")
    try:
        "".join(tokens).encode()
    except (TypeError, UnicodeEncodeError) as error:
        raise refuse("it holds a token that is no text") from error
    rows = said["values"]
    if not all(isinstance(v, list) and len(v) == len(labels) and set(map(type, v)) <= {int, float} for v in rows):
        raise refuse(f"it has a token without {len(labels)} numbers")
    if not all(abs(number) <= LARGEST for row in rows for number in row):  # before numpy meets it: an int has no end
        raise refuse("it holds a number that is too large")
    table = np.array(rows, np.float64)
    columns = {label: table[:, i].astype(np.float32) for i, label in enumerate(labels)}
    if "hook_post" not in columns:
        raise refuse(f"it has no hook_post (found: {', '.join(map(str, labels))[:80]})")
    _agrees(columns, refuse)
    values: dict[Site, Any] = {site: columns[label] for label, site in SITES.items() if label in columns}
    return Example(int(named[1]), int(named[2]), tokens, values)


def _agrees(columns: dict[str, Float32[np.ndarray, "pos"]], refuse: Callable[[str], StoreError]) -> None:
    """That a masked activation is the activation where the signs are as its label says, and 0 elsewhere."""
    if not {"hook_pre", "hook_pre_linear"} <= set(columns):
        return
    for label, masked in columns.items():
        found = MASKED.fullmatch(str(label))
        if found is not None:
            signs = [np.signbit(columns[name]) == (sign == "-")
                     for name, sign in zip(("hook_pre", "hook_pre_linear"), found.groups(), strict=True)]  # fmt: skip
            expected = np.where(signs[0] & signs[1], columns["hook_post"], 0)
            if not np.allclose(masked, expected, rtol=1e-5, atol=1e-6):
                raise refuse(f"its {label} is not hook_post where the signs are so")


def _table(rows: list[Float32[np.ndarray, "_"]]) -> Float32[np.ndarray, "text pos"]:
    found = np.full((len(rows), max(map(len, rows))), np.nan, np.float32)
    for i, row in enumerate(rows):
        found[i, : len(row)] = row
    return found


def _manifest(files: Sequence[Path], stored: Stored, model: str | None, config: dict[str, Any]) -> dict[str, Any]:
    words = [token.decode("utf-8", "replace") for token in stored.vocabulary.tokens]
    return {
        "subject": {"name": model or "a gated model", "path": "", "sha256": None, "n_layers": None, "d_mlp": None,
                    "d_vocab": len(words)},
        "tokenizer": {"sha256": sha256(words), "bos": stored.bos, "eos": None, "size": len(words)},
        "corpus": {"path": str(files[0].parent), "n_files": len(files), "files": [], "skipped": {}},
        "config": config,
        "source": {"kind": "gluscope", "files": len(files), "tokens": "strings", "own": {}},
    }  # fmt: skip
