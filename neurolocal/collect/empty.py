"""An empty collection: its settings filled in, and for each layer the state that holds its lists, on a device.

Invariant: where lists are kept does not change what is collected.
Cost: the memory of all states, which `memory` states before.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import torch

from neurolocal.collect.device import DeviceState
from neurolocal.collect.loop import CollectSubject, Progress
from neurolocal.collect.memory import device_bytes
from neurolocal.collect.rows import RowBuffer
from neurolocal.collect.sample import Sampler
from neurolocal.collect.state import LayerState, State
from neurolocal.collect.triton_state import TritonState, has_kernels
from neurolocal.config import CollectConfig, Lists
from neurolocal.errors import ConfigError
from neurolocal.records import Experts, Place

LISTS = 0.8
"""Share of a GPU's free memory that lists may take, once the weights are there; the rest is for batches."""


def resolved(config: CollectConfig, subject: CollectSubject) -> CollectConfig:
    """The config with what depends on the subject filled in.

    Raises:
        ConfigError: layers, neurons, sites or sign cases that the subject does not have.
    """
    sites = config.sites or (("mid",) if "mid" in subject.sites else ("post",))
    absent = [site for site in sites if site not in subject.sites]
    if absent:
        raise ConfigError(
            f"sites = {', '.join(absent)}: the subject has {', '.join(subject.sites)}. Choose with --sites."
        )
    if config.sign_cases and not (subject.gated and "post" in sites):
        raise ConfigError("sign_cases = true: the subject's MLPs have no gate, so no sign cases; drop the setting")
    layers = range(subject.n_layers) if config.layers is None else config.layers
    wrong = [layer for layer in layers if not 0 <= layer < subject.n_layers]
    if wrong:
        raise ConfigError(
            f"layers {', '.join(map(str, wrong))}: the subject has layers 0 to {subject.n_layers - 1}. "
            "Choose from these with --layers."
        )
    narrow = min(layers, key=lambda layer: subject.d_mlp[layer])
    if config.neurons is not None and not 0 <= min(config.neurons) <= max(config.neurons) < subject.d_mlp[narrow]:
        raise ConfigError(
            f"neurons {min(config.neurons)} to {max(config.neurons)}: layer {narrow} has neurons 0 to "
            f"{subject.d_mlp[narrow] - 1}. Choose from these with --neurons."
        )
    return dataclasses.replace(config, sites=sites)


def start(subject: CollectSubject, config: CollectConfig, *, lists: Lists = "auto") -> Progress:
    """An empty collection, by a `resolved` config.

    Args:
        subject: the model under study.
        config: the conventions.
        lists: where lists are kept. `auto` puts a layer's on its device until `LISTS` of what is free there is taken.
    """
    assert config.sites is not None
    states: dict[Place, State] = {}
    host = on_host(subject, config, lists, free=_free_on)
    for site in config.sites:
        for layer in range(subject.n_layers) if config.layers is None else config.layers:
            cases = config.sign_cases and site == "post"
            device = torch.device("cpu") if layer in host else subject.device_of(layer)
            experts = subject.experts_of(layer)
            states[site, layer] = empty_state(subject.d_mlp[layer], config, cases=cases, experts=experts, device=device)
    d_vocab = len(subject.vocabulary.tokens)
    return Progress(
        states,
        Sampler(config.sample, seed=config.seed),
        np.zeros(d_vocab, np.int64),
        RowBuffer(config.row_length, d_vocab=d_vocab),
    )


def on_host(
    subject: CollectSubject, config: CollectConfig, lists: Lists, *, free: Callable[[torch.device], int | None]
) -> set[int]:
    """The layers whose lists are kept in the host's memory.

    Args:
        subject: the model under study.
        config: `resolved`.
        lists: what the user chose.
        free: bytes that are free on a device; None where nothing says so.
    """
    layers = range(subject.n_layers) if config.layers is None else config.layers
    if lists != "auto":
        return set(layers) if lists == "host" else set()
    found, taken = set[int](), dict[torch.device, list[int]]()
    room = {device: free(device) for device in {subject.device_of(layer) for layer in layers}}
    for layer in layers:
        device = subject.device_of(layer)
        left, there = room[device], taken.setdefault(device, [])
        width = subject.d_mlp[layer] if config.neurons is None else len(config.neurons)
        if left is None or device_bytes([*there, width], config) <= LISTS * left:
            there.append(width)
        else:
            found.add(layer)
    return found


def _free_on(device: torch.device) -> int | None:
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None


def away(subject: CollectSubject, progress: Progress) -> list[int]:
    """The layers whose lists are in the host's memory and whose activations are not."""
    return sorted(
        {layer for (_, layer), state in progress.states.items()
         if isinstance(state, LayerState) and subject.device_of(layer).type != "cpu"}
    )  # fmt: skip


def empty_state(
    d_mlp: int, config: CollectConfig, *, cases: bool, experts: Experts | None, device: torch.device
) -> State:
    """The state of a layer where its activations are: compiled kernels on a CPU or a GPU, else plain torch."""
    if device.type == "cpu":
        return LayerState(d_mlp, config, cases=cases, experts=experts)
    if has_kernels(device):
        return TritonState(d_mlp, config, cases=cases, experts=experts, device=device)
    return DeviceState(d_mlp, config, cases=cases, experts=experts, device=device)
