"""A text of one's own through the subject: its token ids as a collection makes them, and activations token by token.

Invariant: ids and activations are those that a collection gives for a row that holds the text alone.
Cost: one forward pass, which ends at the deepest layer read; each layer's activations (pos x d_mlp) are copied to the
host one after another, and only the chosen columns are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float32, Int64

from neurolocal.errors import SubjectError
from neurolocal.records import Site
from neurolocal.subject.tokenizers.backend import ControlTokens

if TYPE_CHECKING:
    from neurolocal.subject.model import Subject

Choice = Callable[[Float32[np.ndarray, "pos d_mlp"]], Int64[np.ndarray, "neuron"]]
"""Receives the activations of a layer; gives the neurons to keep."""


@dataclass(frozen=True, repr=False)
class TextActivations:
    """The activations of some neurons of one layer on one text."""

    layer: int
    """Index of the layer."""
    neurons: Int64[np.ndarray, "neuron"]
    """Index within the layer of each."""
    tokens: Int64[np.ndarray, "pos"]
    """Token ids, BOS included where there is one."""
    str_tokens: list[str]
    """The text of each token alone; parts of characters are U+FFFD."""
    values: Float32[np.ndarray, "pos neuron"]
    """NaN where a token was not routed to the neuron's expert."""

    def __repr__(self) -> str:
        """One token a line with the values of up to eight neurons."""
        shown = self.values[:, :8]
        more = ", …" if self.values.shape[1] > shown.shape[1] else ""
        head = f"layer {self.layer}, neuron {', '.join(map(str, self.neurons[:8]))}{more}"
        lines = (
            f"{i:>8}  {text!r:<20}" + "".join(f" {value:>10.4g}" for value in row)
            for i, text, row in zip(self.tokens.tolist(), self.str_tokens, shown, strict=True)
        )
        return "\n".join([head, *lines])


def text_tokens(
    subject: Subject, text: str, *, bos: bool | None = None, control: ControlTokens = "token"
) -> Int64[np.ndarray, "pos"]:
    """The token ids of a text, as one row.

    Args:
        subject: the model.
        text: any text; what UTF-8 cannot encode becomes U+FFFD.
        bos: whether BOS stands before it; None is wherever the model has one, as in a collection.
        control: how control tokens that are written out in it are read.

    Raises:
        SubjectError: no tokens, more than the model has positions, or no BOS where one is wanted.
    """
    if bos and subject.bos is None:
        raise SubjectError(
            f"reading a text with {subject.name}: it has neither BOS nor EOS to begin it with; omit BOS."
        )
    plain = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    ((ids, _),) = subject.encode_documents([plain], control=control)
    head = [] if bos is False or subject.bos is None else [subject.bos]
    tokens = np.concatenate([np.array(head, np.int64), ids.astype(np.int64)])
    if not len(ids):
        raise SubjectError(f"reading a text with {subject.name}: the text has no tokens. Give one that is not empty.")
    if subject.n_ctx is not None and len(tokens) > subject.n_ctx:
        raise SubjectError(
            f"reading a text with {subject.name}: it has {len(tokens):,} tokens and the model {subject.n_ctx:,} "
            "positions. Give a shorter text."
        )
    return tokens


def read_text(
    subject: Subject, tokens: Int64[np.ndarray, "pos"], choices: Mapping[int, Choice], *, site: Site = "post"
) -> dict[int, tuple[Int64[np.ndarray, "neuron"], Float32[np.ndarray, "pos neuron"]]]:
    """By layer the chosen neurons, and their activations at every token; one forward pass.

    Args:
        subject: the model.
        tokens: from `text_tokens`.
        choices: by layer, which neurons to keep.
        site: where they are read.

    Raises:
        SubjectError: a layer or site that the model does not have.
    """
    kept: dict[int, tuple[Int64[np.ndarray, "neuron"], Float32[np.ndarray, "pos neuron"]]] = {}

    def reader(layer: int) -> Callable[[torch.Tensor], None]:
        def keep(x: torch.Tensor) -> None:
            values = x[0].float().cpu().numpy()
            chosen = choices[layer](values)
            kept[layer] = chosen, values[:, chosen]

        return keep

    subject.read(torch.from_numpy(tokens)[None], {layer: reader(layer) for layer in choices}, sites=(site,))
    return kept


def these(subject: Subject, layer: int, neurons: int | np.integer | Sequence[int] | None) -> Choice:
    """The choice of one neuron of a layer, or of some in their order; all for None.

    Raises:
        SubjectError: a neuron that the layer does not have.
    """
    width = subject.d_mlp[layer] if 0 <= layer < subject.n_layers else 0
    chosen = np.arange(width) if neurons is None else np.atleast_1d(np.array(neurons, np.int64))
    absent = [n for n in chosen.tolist() if not 0 <= n < width] if width else []
    if absent:
        raise SubjectError(
            f"reading neuron {absent[0]} of layer {layer} of {subject.name}: the layer has neurons 0 to {width - 1}. "
            "Choose from these."
        )
    return lambda values: chosen
