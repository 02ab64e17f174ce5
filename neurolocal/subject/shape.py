"""The shape of a model from its settings alone: which products a layer makes for a token, and how many weights it has.

Invariant: the sizes are those of the modules that transformers builds from the settings, on torch's meta device, which
holds no values; nothing is looked up by the architecture's name. Weights are neither needed nor read.
Cost: importing torch, transformers and, once a config, TransformerLens; no memory for weights.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from neurolocal.errors import SubjectError, first_line

TOP_K = ("num_experts_per_tok", "num_experts_per_token", "moe_topk", "top_k_experts")
"""Settings that say how many experts a position is routed to."""

DEEPEST = 2_000
"""Most layers whose modules are built, empty."""


class Product(NamedTuple):
    """A matrix that a token's vector is multiplied with."""

    n_in: int
    """Its rows: the width of the vector."""
    n_out: int
    """Its columns: the width of the result."""
    uses: float
    """How often a token passes it: 1, or the share of a layer's experts that a token is routed to."""
    copies: int
    """Matrices of this shape, of which a token uses `uses * copies`."""


@dataclass(frozen=True)
class LayerShape:
    """One block."""

    d_mlp: int
    """Neurons, those of all experts."""
    active: int
    """Neurons that have an activation at one token."""
    products: tuple[Product, ...]
    """Its matrices."""
    heads: int
    """Attention heads whose scores grow with the row; 0 where attention is linear in the row."""
    d_scores: int
    """Width of a query plus width of a value, a head."""
    window: int | None
    """Positions that a position attends to at most; None is all before it."""
    out: int
    """Multiplications a token of the out projection, before which the pass ends in the deepest layer."""
    routed: bool
    """Whether it has experts."""

    @property
    def weights(self) -> int:
        """Numbers in its matrices."""
        return sum(one.n_in * one.n_out * one.copies for one in self.products)

    @property
    def multiplications(self) -> float:
        """Multiplications of its matrices for one token."""
        return sum(one.n_in * one.n_out * one.copies * one.uses for one in self.products)


@dataclass(frozen=True)
class Shape:
    """What a model costs follows from this."""

    name: str
    """As the user named it."""
    architecture: str
    """transformers' class."""
    d_model: int
    """Width of the residual stream."""
    d_vocab: int
    """Token ids."""
    n_ctx: int | None
    """Positions, where the model has a limit."""
    gated: bool
    """Whether the MLPs multiply a gate into the in projection's output."""
    layers: tuple[LayerShape, ...]
    """The blocks in order."""
    parameters: int
    """All numbers of the model, a tied unembedding once."""
    config: Any
    """transformers' config, from which random blocks can be built."""

    @property
    def d_mlp(self) -> list[int]:
        """Neurons of each layer."""
        return [layer.d_mlp for layer in self.layers]


def subject_shape(spec: str | Path) -> Shape:
    """The shape of a model folder (`config.json` alone is enough), a `.gguf` file, a name, or a `config.json`.

    Raises:
        SubjectError: no such model, settings that cannot be read, or no MLP neurons.
    """
    from neurolocal.subject.gguf_parts import gguf_parts
    from neurolocal.subject.legacy import legacy_config
    from neurolocal.subject.locate import locate

    if Path(spec).name == "config.json" and Path(spec).is_file():
        return _of_folder(Path(spec).parent, str(spec))
    path = locate(spec)
    if not path.is_dir():
        return _of_gguf(gguf_parts(path)[0], str(spec))
    if legacy_config(path) is not None:
        raise SubjectError(
            f"planning for {spec}: this folder is in TransformerLens's own format, whose settings are not read here. "
            "Give the config.json of a Hugging Face model of the same shape."
        )
    return _of_folder(path, str(spec))


def shape_of(settings: Mapping[str, Any], name: str) -> Shape:
    """The shape of a model whose `config.json` holds these settings.

    Raises:
        SubjectError: transformers knows no such model, or it has no MLP neurons.
    """
    from transformers import AutoConfig

    try:
        config = AutoConfig.for_model(**dict(settings))
    except Exception as error:  # transformers raises many types here
        raise _refused(name, error) from error
    return _measured(config, name)


def _of_folder(folder: Path, name: str) -> Shape:
    try:
        settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if not isinstance(settings, dict) or not isinstance(settings.get("model_type"), str):
            raise ValueError('no object with a "model_type"')
    except (OSError, ValueError) as error:
        raise SubjectError(
            f"planning for {name}: config.json cannot be read ({first_line(error)}). Give a Hugging Face model folder."
        ) from error
    return shape_of({key: value for key, value in settings.items() if key != "auto_map"}, name)


def _of_gguf(path: Path, name: str) -> Shape:
    import transformers

    from neurolocal.subject.gguf_reading import quick_reading

    transformers.logging.set_verbosity_error()
    try:
        with quick_reading():
            config = transformers.AutoConfig.from_pretrained(
                str(path.parent), gguf_file=path.name, local_files_only=True
            )
    except Exception as error:  # transformers raises many types here
        raise _refused(name, error) from error
    return _measured(config, name)


def _refused(name: str, error: Exception) -> SubjectError:
    return SubjectError(
        f"planning for {name}: transformers cannot build it ({type(error).__name__}: {first_line(error, 200)}). "
        "Give another folder, .gguf, config.json or name."
    )


def _measured(config: Any, name: str) -> Shape:
    """The sizes of the modules that a config gives."""
    import torch
    from transformers import AutoModelForCausalLM

    from neurolocal.subject.experts import expert_layer
    from neurolocal.subject.wrapper import text_paths

    text = config.get_text_config()
    n_layers = getattr(text, "num_hidden_layers", None)
    if not isinstance(n_layers, int) or not 1 <= n_layers <= DEEPEST:
        raise SubjectError(
            f"planning for {name}: its config has {n_layers!r} layers. Give one of a model with 1 to {DEEPEST:,}."
        )
    pad = getattr(text, "pad_token_id", None)
    if isinstance(pad, int) and not 0 <= pad < text.vocab_size:  # some converters write 4294967295 for none
        text.pad_token_id = None
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
    except Exception as error:  # transformers raises many types here
        raise _refused(name, error) from error
    config.architectures = config.architectures or [type(model).__name__]
    paths = text_paths(model, n_layers)
    experts = {i: expert_layer(model.get_submodule(p), name=f"{name}, layer {i}") for i, p in enumerate(paths.mlp) if p}
    layers = tuple(_layer(model, paths.out[i] or paths.mlp[i], experts.get(i), text, number=i) for i in range(n_layers))
    gated = all(layer.gated if (layer := experts.get(i)) else bool(path) for i, path in enumerate(paths.gate))
    return Shape(
        name,
        type(model).__name__,
        text.hidden_size,
        text.vocab_size,
        getattr(text, "max_position_embeddings", None),
        gated,
        layers,
        sum(p.numel() for p in model.parameters()),
        config,
    )


def _layer(model: Any, path: str, experts: Any, text: Any, *, number: int) -> LayerShape:
    """One block; `path` leads to a module inside it."""
    block = model.get_submodule(block_path(path))
    share = 1.0
    if experts is not None:
        chosen = next((n for name in TOP_K if isinstance(n := getattr(text, name, None), int)), experts.n_experts)
        share = min(1.0, chosen / experts.n_experts)
    products = tuple(_products(block, share))
    if experts is None:
        out = model.get_submodule(path)
        rows, columns = _in_and_out(out)
        d_mlp = active = rows
        last = rows * columns
    else:
        d_mlp, last = experts.width, int(share * experts.n_experts * experts.d_expert * experts.d_model)
        active = int(share * experts.n_experts * experts.d_expert) + experts.d_shared
    heads = text.num_attention_heads
    d_head = getattr(text, "head_dim", None) or text.hidden_size // heads
    kinds = getattr(text, "layer_types", None) or []
    kind = kinds[number] if number < len(kinds) else "full_attention"
    window = getattr(text, "sliding_window", None) if kind == "sliding_attention" or not kinds else None
    return LayerShape(
        d_mlp, active, products, 0 if "linear" in kind else heads, 2 * d_head, window, last, experts is not None
    )


def block_path(path: str) -> str:
    """`model.layers.0.mlp.down_proj` -> `model.layers.0`: up to and with the first number."""
    parts = path.split(".")
    end = next(i for i, part in enumerate(parts) if part.isdigit())
    return ".".join(parts[: end + 1])


def _in_and_out(module: Any) -> tuple[int, int]:
    """Rows and columns of a projection, by its own words or its weight (Conv1D has its inputs first)."""
    if hasattr(module, "in_features"):
        return module.in_features, module.out_features
    return tuple(module.weight.shape)


def _products(block: Any, share: float) -> Iterator[Product]:
    """The matrices of a block: plain ones, and those of experts, which lie in one weight of three dimensions."""
    for module in block.modules():
        for name, weight in module.named_parameters(recurse=False):
            if weight.dim() == 2 and name == "weight" and type(module).__name__ != "Embedding":
                yield Product(*_in_and_out(module), 1.0, 1)
            elif weight.dim() == 3:
                copies, rows, columns = weight.shape
                yield Product(int(rows), int(columns), share, int(copies))
