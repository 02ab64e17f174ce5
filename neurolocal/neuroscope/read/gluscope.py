"""A GLUScope example file -> a gated neuron's activations over one text.

A file holds `tokens`, `values` (one list of figures a token) and `labels` (the names of the figures). Of these,
`hook_post`, `hook_pre` and `hook_pre_linear` are the store's sites `post`, `pre` and `pre_linear`. The file's name
contains layer, neuron and sign case: `L22_N2589_gatep_inp_hook_post_example_0.json`. The other figures follow from
these three and are not kept: the masked activation of the sign case is compared with them, and `swish` is the
activation function. Source: https://github.com/sjgerstner/neuroscope.
Invariant: all input is validated; a file with any fault is a `StoreError` that names it.
Cost: one parse; O(tokens).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32

from neurolocal.errors import StoreError
from neurolocal.records import Site

SITES: dict[str, Site] = {"hook_post": "post", "hook_pre": "pre", "hook_pre_linear": "pre_linear"}
"""Labels that name a site of the store."""

MASKED = re.compile(r"gate([+-])_in([+-])_hook_post")
"""The label of the activation where gate and in projection have these signs, and 0 elsewhere."""

LARGEST = float(np.finfo(np.float32).max)

NAME = re.compile(r"L([0-9]{1,6})_N([0-9]{1,9})_.*\.json")


class GluscopeExample(NamedTuple):
    """One file."""

    layer: int
    neuron: int
    tokens: list[str]
    values: dict[Site, Float32[np.ndarray, "pos"]]


def read_example(path: Path) -> GluscopeExample:
    """Read and check one file.

    Raises:
        StoreError: the file is damaged or lacks something.
    """

    def refuse(what: str) -> StoreError:
        return StoreError(f"importing {path}: {what}. Expected a GLUScope example with tokens, values and labels.")

    named = NAME.fullmatch(path.name)
    if named is None:
        raise refuse("its name does not contain layer and neuron, as L22_N2589_….json does")
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda name: None)
    except (OSError, ValueError, RecursionError) as error:
        raise refuse(f"it is no whole JSON ({str(error)[:60]})") from error
    if not isinstance(content, dict) or not all(
        isinstance(content.get(name), list) for name in ("tokens", "values", "labels")
    ):
        raise refuse("it lacks tokens, values or labels")
    tokens, labels = content["tokens"], content["labels"]
    if not tokens or len(content["values"]) != len(tokens) or not all(type(label) is str for label in labels):
        raise refuse(f"it has {len(content['values'])} values for {len(tokens)} tokens, or a label that is no text")
    if len(set(labels)) != len(labels):
        raise refuse("it has a label twice")
    try:
        "".join(tokens).encode()
    except (TypeError, UnicodeEncodeError) as error:
        raise refuse("it holds a token that is no text") from error
    rows = content["values"]
    if not all(isinstance(v, list) and len(v) == len(labels) and set(map(type, v)) <= {int, float} for v in rows):
        raise refuse(f"it has a token without {len(labels)} numbers")
    if not all(
        abs(number) <= LARGEST for row in rows for number in row
    ):  # before numpy converts it: a JSON integer has no limit
        raise refuse("it holds a number that is too large")
    table = np.array(rows, np.float64)
    columns = {label: table[:, i].astype(np.float32) for i, label in enumerate(labels)}
    if "hook_post" not in columns:
        raise refuse(f"it has no hook_post (found: {', '.join(map(str, labels))[:80]})")
    _require_masks(columns, refuse)
    values: dict[Site, Any] = {site: columns[label] for label, site in SITES.items() if label in columns}
    return GluscopeExample(int(named[1]), int(named[2]), tokens, values)


def _require_masks(columns: dict[str, Float32[np.ndarray, "pos"]], refuse: Callable[[str], StoreError]) -> None:
    """Check that a masked activation equals the activation where the signs match its label, and is 0 elsewhere."""
    if not {"hook_pre", "hook_pre_linear"} <= set(columns):
        return
    for label, masked in columns.items():
        found = MASKED.fullmatch(str(label))
        if found is not None:
            signs = [np.signbit(columns[name]) == (sign == "-")
                     for name, sign in zip(("hook_pre", "hook_pre_linear"), found.groups(), strict=True)]  # fmt: skip
            expected = np.where(signs[0] & signs[1], columns["hook_post"], 0)
            if not np.allclose(masked, expected, rtol=1e-5, atol=1e-6):
                raise refuse(f"its {label} is not hook_post where the signs match")
