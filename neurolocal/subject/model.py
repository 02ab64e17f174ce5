"""The model under study: runs token rows and gives each layer's activations to a reader during the pass.

Invariant: what a reader receives equals TransformerBridge's `blocks.{layer}.mlp.hook_post` (or `hook_pre`, ...); the
model itself is not changed. The pass covers the decoder body alone and ends at the deepest layer that is read, before
its out projection.
Cost: the forward pass and one Python call a layer and module read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from neurolocal.errors import SubjectError
from neurolocal.records import Experts, Site
from neurolocal.subject.batches import upload
from neurolocal.subject.capture import PassEnd, Reader, Spot, attach
from neurolocal.subject.chat import ChatTemplate
from neurolocal.subject.experts import ExpertLayer, expert_layer
from neurolocal.subject.probe import SITES, measured_sites, widths
from neurolocal.subject.routed import Routed
from neurolocal.subject.sites import ModulePaths, remembered
from neurolocal.subject.text import TextActivations, read_text, text_tokens, these
from neurolocal.subject.tokenizers.backend import ControlTokens
from neurolocal.subject.tokenizers.earlier import is_of_0_1_0
from neurolocal.subject.tokenizers.examine import examine
from neurolocal.subject.tokenizers.tokenizer import Encoded, Tokenizer
from neurolocal.subject.wrapper import text_body, text_paths
from neurolocal.words import Vocabulary

if TYPE_CHECKING:
    cached_property = property  # type checkers accept no cached_property where a protocol has a property
else:
    from functools import cached_property


class Subject:
    """A causal language model with MLP neurons, its tokenizer, and its name."""

    def __init__(
        self, model: Any, tokenizer: Tokenizer, *, name: str, path: str = "", sha256: str = "",
        paths: ModulePaths | None = None,
    ) -> None:  # fmt: skip
        """Wrap a loaded Hugging Face model.

        Args:
            model: a causal language model.
            tokenizer: its tokenizer.
            name: its name in messages and manifests.
            path: where it was loaded from.
            sha256: of its weights.
            paths: where its modules are; None takes TransformerLens's answer.

        Raises:
            SubjectError: no MLP neurons at the places that TransformerLens names.
        """
        self.model, self.tokenizer = model, tokenizer
        self.name, self.path, self.sha256 = name, path, sha256
        self.tokenizer_path: str | None = None
        """Where the tokenizer was loaded from, if the user chose it."""
        self.untrained: int | None = None
        """The seed of weights that were drawn anew; None for trained ones."""
        self._examined: dict[str, Any] = {}
        self.unembeds = True
        """False where the files lack the unembedding, whose weights are then random."""
        if getattr(model.config, "is_encoder_decoder", False):
            raise SubjectError(f"loading the subject {name}: an encoder-decoder; give a decoder-only language model.")
        self.body: torch.nn.Module = text_body(model)
        config = model.config.get_text_config()
        self.n_layers: int = config.num_hidden_layers
        self.d_vocab: int = config.vocab_size
        self.n_ctx: int | None = getattr(config, "max_position_embeddings", None)
        self.paths = paths or text_paths(model, self.n_layers)
        self.expert_layers: dict[int, ExpertLayer] = {
            i: found
            for i, path in enumerate(self.paths.mlp)
            if (found := expert_layer(self._module(path), name=f"{name}, layer {i}")) is not None
        }
        """The layers that have experts."""
        self._out: list[torch.nn.Module] = [
            self.expert_layers[i].experts if i in self.expert_layers else self._module(path)
            for i, path in enumerate(self.paths.out)
        ]
        self.d_mlp: list[int] = remembered(model.config, "widths", lambda: widths(self), of=(self.n_layers, int))

    @property
    def out_projections(self) -> dict[int, torch.nn.Module]:
        """The out projection of each layer that has one for all tokens; a layer with experts has none."""
        return {i: out for i, out in enumerate(self._out) if i not in self.expert_layers}

    @property
    def gated(self) -> bool:
        """Whether the MLPs multiply a gate into the in projection's output."""
        of_experts = (self.expert_layers[i].gated if i in self.expert_layers else None for i in range(self.n_layers))
        return all(
            bool(path) if gated is None else gated for path, gated in zip(self.paths.gate, of_experts, strict=True)
        )

    def experts_of(self, layer: int) -> Experts | None:
        """Which neurons of a layer belong to which expert, with no position counted; None without experts."""
        return self.expert_layers[layer].layout if layer in self.expert_layers else None

    @cached_property
    def sites(self) -> tuple[Site, ...]:
        """The sites that this model has, `post` first."""
        found = remembered(self.model.config, "sites", lambda: measured_sites(self), of=(len(SITES), bool))
        return tuple(site for site, there in zip(SITES, found, strict=True) if there)

    @property
    def device(self) -> torch.device:
        """The device of the input embedding; layers may be on others (`device_of`)."""
        return _device(self.model.get_input_embeddings())

    def device_of(self, layer: int) -> torch.device:
        """The device of a layer's activations."""
        return _device(self._out[layer])

    @property
    def devices(self) -> tuple[torch.device, ...]:
        """The devices that a forward pass uses, each once; that of the input embedding first."""
        return tuple(dict.fromkeys((self.device, *map(self.device_of, range(self.n_layers)))))

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that it computes in."""
        return next(self.model.parameters()).dtype

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The bytes of every token id."""
        return self.tokenizer.vocabulary(self.d_vocab)

    @property
    def bos(self) -> int | None:
        """The id that begins a row; models without BOS, such as GPT-2, use EOS."""
        return self.tokenizer.bos if self.tokenizer.bos is not None else self.eos

    @property
    def eos(self) -> int | None:
        """The id that ends a document."""
        return self.tokenizer.eos

    @property
    def chat_template(self) -> ChatTemplate | None:
        """What writes a conversation as one text; None where the model has none."""
        roles = self.tokenizer.roles
        return ChatTemplate(roles.chat_template, bos=roles.bos, eos=roles.eos) if roles.chat_template else None

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Token ids of whole documents, without special tokens."""
        return self.tokenizer.encode(texts)

    def encode_documents(self, texts: list[str], *, control: ControlTokens = "token") -> list[Encoded]:
        """Of each document the int32 token ids, and their int64 offsets in the text in code points, or None."""
        return self.tokenizer.encode_documents(self.vocabulary, texts, control=control)

    def encode_exactly(self, text: str) -> list[int] | None:
        """Ids whose text is exactly `text` in the middle of a row, or None where there are none."""
        return self.tokenizer.encode_exactly(self.vocabulary, text)

    def examine(self, texts: list[str], *, control: ControlTokens = "token") -> list[str]:
        """Try the tokenizer on some texts: what the user should know, a line each.

        The numbers become a part of `tokenizer_facts`.
        """
        found = examine(self.tokenizer, self.vocabulary, texts, control=control)
        self._examined = {"tried": found.facts()}
        return found.lines(self.tokenizer)

    def facts(self) -> dict[str, Any]:
        """What identifies this model in a manifest."""
        config, experts = self.model.config, {}
        if self.expert_layers:
            layers = [self.expert_layers.get(i) for i in range(self.n_layers)]
            experts = {
                "experts": [0 if one is None else one.n_experts for one in layers],
                "d_expert": [0 if one is None else one.d_expert for one in layers],
                "d_shared": [0 if one is None else one.d_shared for one in layers],
            }
        return {
            "name": self.name,
            "path": self.path,
            "sha256": self.sha256,
            **({} if self.untrained is None else {"untrained": self.untrained}),
            "architecture": getattr(config, "native_architecture", None)
            or (config.architectures or [config.model_type])[0],
            "n_layers": self.n_layers,
            "d_mlp": self.d_mlp,
            **experts,
            "d_vocab": self.d_vocab,
            "n_ctx": self.n_ctx,
        }

    def tokenizer_facts(self) -> dict[str, Any]:
        """What identifies the tokenizer in a manifest."""
        named = {"path": self.tokenizer_path} if self.tokenizer_path is not None else {}
        return self.tokenizer.facts() | {"bos": self.bos} | named | self._examined

    def has_tokenizer(self, name: str | None) -> bool:
        """Whether a store whose manifest gives its tokenizer this SHA-256 holds this tokenizer's ids."""
        return name == self.tokenizer_facts()["sha256"] or (name is not None and is_of_0_1_0(self.tokenizer, name))

    @torch.inference_mode()
    def read(
        self,
        tokens: Int[Tensor, "batch pos"],
        readers: Mapping[int, Reader],
        *,
        sites: Sequence[Site] = ("post",),
        routed: bool = False,
        **body: Any,
    ) -> None:
        """One forward pass; the reader of a layer receives its activations as soon as they are computed.

        Args:
            tokens: ids, on any device.
            readers: by layer; each is called once, with one tensor (batch, pos, d_mlp) a site; layers above the deepest
                are not run. A tensor may be a strided view: one half of a fused gate and in projection.
            sites: where to read, in the order of the readers' arguments.
            routed: whether the reader of a layer with experts receives a `Routed` a site; otherwise all neurons at all
                positions, with NaN where a position was not routed to the neuron's expert.
            body: further arguments of the decoder body (cache, mask, positions).

        Raises:
            SubjectError: rows longer than the context, or a layer or site that this model lacks.
        """
        if not readers:
            raise ValueError("reading a forward pass: no layers to read; expected a reader for one or more")
        for layer in readers:
            if not 0 <= layer < self.n_layers:
                raise SubjectError(
                    f"reading layer {layer} of {self.name}: it has layers 0 to {self.n_layers - 1}. Choose from these."
                )
        shape = tokens.shape
        if not body:  # with it the caller sets the positions
            self.require_row_length(shape[-1])
        if tuple(sites) != ("post",):
            self._require(sites)
        if not routed:
            readers = {i: _all_neurons(reader) if i in self.expert_layers else reader for i, reader in readers.items()}
        self.run(tokens, {i: (reader, [self.spot(i, site) for site in sites]) for i, reader in readers.items()}, body)

    def require_row_length(self, n: int) -> None:
        """Refuse rows that are longer than the context.

        Raises:
            SubjectError: they are.
        """
        if self.n_ctx is not None and n > self.n_ctx:
            raise SubjectError(
                f"running {self.name} on rows of {n:,} tokens: it has {self.n_ctx:,} positions. "
                "Pass a smaller --row-length."
            )

    @overload
    def activations(
        self, tokens: Int[Tensor, "batch pos"], layer: int, site: Site = "post"
    ) -> Float[Tensor, "batch pos d_mlp"]: ...

    @overload
    def activations(
        self, tokens: str, layer: int, site: Site = "post", *, neuron: int | np.integer | Sequence[int] | None = None,
        bos: bool | None = None,
    ) -> TextActivations: ...  # fmt: skip

    def activations(
        self, tokens: Int[Tensor, "batch pos"] | str, layer: int, site: Site = "post", *,
        neuron: int | np.integer | Sequence[int] | None = None, bos: bool | None = None,
    ) -> Float[Tensor, "batch pos d_mlp"] | TextActivations:  # fmt: skip
        """The activations of one layer on a text, token by token, or on rows of token ids.

        Args:
            tokens: a text, or ids. Of ids all activations are given, as a tensor.
            layer: index of the layer.
            site: where the neurons are read.
            neuron: of a text, index or indices within the layer; None is all.
            bos: of a text, whether BOS stands before it; None is wherever the model has one.

        Raises:
            SubjectError: no such layer, neuron or site; a text without tokens, or longer than the context.
        """
        if isinstance(tokens, str):
            ids = text_tokens(self, tokens, bos=bos)
            choice = these(self, layer, neuron)
            neurons, values = read_text(self, ids, {layer: choice}, site=site)[layer]
            return TextActivations(layer, neurons, ids, self.vocabulary.str_tokens(ids), values)
        kept: list[Tensor] = []
        self.read(tokens, {layer: lambda x: kept.append(x.clone())}, sites=(site,))
        return kept[0]

    def run(
        self, tokens: Int[Tensor, "batch pos"], wanted: Mapping[int, tuple[Reader, list[Spot]]], body: dict[str, Any]
    ) -> None:
        """One forward pass that gives the activations at the spots of each layer to its reader."""
        handles: list[Any] = []
        try:
            for layer, (reader, spots) in wanted.items():
                last = layer == max(wanted)
                if layer in self.expert_layers:
                    handles += self.expert_layers[layer].attach(spots, reader=reader, shape=tokens.shape, last=last)
                else:
                    handles += attach(self._out[layer], spots, reader=reader, shape=tokens.shape, last=last)
            handles += [one.unread() for i, one in self.expert_layers.items() if i < max(wanted) and i not in wanted]
            self.body(input_ids=upload(tokens, self.device), **({"use_cache": False} | body))
        except PassEnd:
            pass
        finally:
            for handle in handles:
                handle.remove()

    def _require(self, sites: Sequence[Site]) -> None:
        lacking = [site for site in sites if site not in self.sites]
        if lacking or not sites:
            raise SubjectError(
                f"reading {self.name} at {', '.join(lacking) or 'no site'}: it has {', '.join(self.sites)}. "
                "Choose among these."
            )

    def spot(self, layer: int, site: Site) -> Spot:
        """Where a site is in a layer.

        Raises:
            SubjectError: this kind of model has no such site.
        """
        out = self._out[layer]
        if layer in self.expert_layers:
            return self.expert_layers[layer].spot(site)
        if site == "post":
            return Spot(out, before=True)
        parent = self._module(self.paths.out[layer].rpartition(".")[0])
        if site == "mid":
            if getattr(self.model.config, "activation_function", None) != "solu_ln":
                raise SubjectError(f"reading {self.name} at mid: it has no norm between activation and out projection.")
            return Spot(parent.get_submodule("ln"), before=True)
        if not self.gated and site == "pre_linear":
            raise SubjectError(f"reading {self.name} at pre_linear: its MLPs have no gate.")
        path = (self.paths.gate if site == "pre" and self.gated else self.paths.in_)[layer]
        fused = getattr(parent, "gate_up_proj", None)  # Phi-3 and GLM: the adapters name modules that they split off it
        if self.gated and isinstance(fused, torch.nn.Module):
            return Spot(fused, before=False, half=0 if site == "pre" else 1)
        return Spot(self._module(path), before=False)

    def _module(self, path: str) -> torch.nn.Module:
        if not path:
            raise SubjectError(
                f"looking for the neurons of {self.name}: a layer has neither experts nor an out projection where "
                "TransformerLens names its MLP. Attention-only and state-space layers cannot be read."
            )
        try:
            return self.model.get_submodule(path)
        except AttributeError as error:
            raise SubjectError(
                f"looking for the neurons of {self.name}: there is no module {path}, where TransformerLens says they "
                "are. The model's code and the adapter disagree; try another version of transformer-lens."
            ) from error


def _all_neurons(reader: Reader) -> Reader:
    """A reader of tensors as a reader of routed activations."""
    return lambda *x: reader(*[one.dense() if isinstance(one, Routed) else one for one in x])


def _device(module: torch.nn.Module) -> torch.device:
    """The device that a module computes on; accelerate may store its weights elsewhere between calls."""
    hook = getattr(module, "_hf_hook", None)
    for one in getattr(hook, "hooks", (hook,)):
        if (device := getattr(one, "execution_device", None)) is not None:
            return torch.device(device)
    return next(module.parameters()).device
