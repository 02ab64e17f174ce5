"""The names that are one of a fixed set: sites, sides, sign cases, verdicts, number formats.

Invariant: imports nothing, not even numpy, so that the command line can list its choices without loading anything.
"""

from __future__ import annotations

from typing import Literal

Site = Literal["post", "mid", "pre", "pre_linear"]
"""Where in an MLP a neuron is read, in TransformerLens's names.

`post`: the input of the MLP's out projection. `mid`: after SoLU, before its LayerNorm (`solu_ln` models only). `pre`:
before the activation function (of a gated MLP, the gate projection's output). `pre_linear`: the in projection's output
(gated MLPs only).
"""

Side = Literal["largest", "smallest", "gate+_in+", "gate+_in-", "gate-_in+", "gate-_in-"]
"""Which of a neuron's activations a list of examples holds.

`largest`, `smallest`: over all positions. The other four, of gated neurons only, are sign cases: the largest
|activation| over the positions where the gate and the in projection have these signs.
"""

SIDES: tuple[Side, Side] = ("largest", "smallest")

CASES: tuple[Side, Side, Side, Side] = ("gate+_in+", "gate+_in-", "gate-_in+", "gate-_in-")
"""The sign cases of a gated neuron, by number: 2 x (gate is negative) + (in is negative); +0 counts as +, -0 as -."""

Place = tuple[Site, int]
"""A site and a layer."""

Verdict = Literal["concept", "grammar", "token", "form", "context", "dead", "unclear", "untested"]
"""What the evidence says a neuron stands for; see `neurolocal.verdict.rules`."""

VERDICTS: tuple[Verdict, ...] = ("concept", "grammar", "token", "form", "context", "dead", "unclear", "untested")

Dtype = Literal["float32", "bfloat16", "float16"]
"""Number format in which a subject computes."""
