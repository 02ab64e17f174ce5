"""Where the notebook reads a substitute's activation: `hook_post` of TransformerLens's folded model.

Folding changes that site in SoLU models with a LayerNorm alone: the norm's weights move into the out projection, so the
neurons are read without them. The examples are of `hook_mid`, before the norm: another scale, a fault of the original.
Invariant: the subject is unchanged after the context ends.
Cost: one more LayerNorm of the layer read a pass.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from neurolocal.literals import Site

if TYPE_CHECKING:
    from neurolocal.subject import Subject


@contextmanager
def notebook_site(subject: Subject, layer: int, site: Site) -> Generator[Site, None, None]:
    """The site at which a layer's substitutes are read while the context lasts.

    Args:
        subject: the model under study.
        layer: the layer that is read; in deeper layers the model's output is another one meanwhile.
        site: the store's. `pre` and `pre_linear` have no counterpart in the notebook and stay as they are.
    """
    if "mid" not in subject.sites or site not in ("mid", "post"):
        yield site
        return
    from torch.nn.functional import layer_norm

    norm: Any = subject.spot(layer, "mid").module
    handle = norm.register_forward_hook(
        lambda _, inputs, __: layer_norm(inputs[0], norm.normalized_shape, eps=norm.eps)
    )
    try:
        yield "post"
    finally:
        handle.remove()
