"""The hooks copy nothing, end the pass at the deepest layer, and are removed, also after an error."""

from __future__ import annotations

import pytest
import torch
from subject_twins import SETTINGS, VOCAB, tiny


@pytest.mark.parametrize("kind", ["GPT2", "Llama", "Phi3"])
def test_nothing_is_copied(kind: str, own_cache) -> None:
    """What a reader sees is the tensor that the model itself computes with."""
    subject = tiny(kind)
    out = subject._out[0]
    inputs, seen = [], []
    handle = out.register_forward_pre_hook(lambda _, args: inputs.append(args[0].data_ptr()))
    spot = subject.spot(0, "pre")
    outputs = []
    other = spot.module.register_forward_hook(lambda _, __, y: outputs.append(y.data_ptr()))
    subject.read(
        torch.zeros((1, 3), dtype=torch.long),
        {0: lambda *xs: seen.extend(x.data_ptr() for x in xs)},
        sites=("post", "pre"),
    )
    handle.remove()
    other.remove()
    assert seen == [inputs[-1], outputs[-1]]


@pytest.mark.parametrize("kind", SETTINGS)
@pytest.mark.parametrize("layers", [[0], [1, 0]])
def test_nothing_above_the_deepest_layer_runs(kind: str, layers: list[int], rng) -> None:
    subject = tiny(kind)
    ran = []
    handles = [
        module.register_forward_hook(lambda *_, name=name: ran.append(name))
        for name, module in subject.model.named_modules()
        if name
    ]
    seen = {}
    subject.read(
        torch.from_numpy(rng.integers(0, VOCAB, (2, 6))), {i: lambda x, i=i: seen.update({i: x}) for i in layers}
    )
    for handle in handles:
        handle.remove()
    paths = [name for name, module in subject.model.named_modules() if any(module is out for out in subject._out)]
    assert seen.keys() == set(layers)
    assert paths[max(layers)] not in ran, "the last out projection itself was computed"
    assert all(paths[i] in ran for i in range(max(layers)))
    above = [
        name
        for name in ran
        if any(name.startswith(f"{p.split('.0.')[0]}.{i}.") for p in paths[:1] for i in range(max(layers) + 1, 2))
    ]
    assert not above
    assert not any("lm_head" in name or "embed_out" in name for name in ran), "the unembedding ran"


class BrokenError(Exception):
    pass


def fails(x) -> None:
    raise BrokenError


@pytest.mark.parametrize("reader", [lambda x: None, fails])
def test_a_read_leaves_the_model_as_it_was(reader, rng) -> None:
    subject = tiny("Llama")
    before = {name: value.clone() for name, value in subject.model.state_dict().items()}
    modules = dict(subject.model.named_modules())
    tokens = torch.from_numpy(rng.integers(0, VOCAB, (2, 6)))
    logits = subject.model(tokens).logits
    try:
        subject.read(tokens, {0: lambda x: None, 1: reader})
    except BrokenError:
        assert reader is fails
    else:
        assert reader is not fails, "a reader's exception was lost"
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in subject.model.modules())
    assert dict(subject.model.named_modules()) == modules
    assert all(torch.equal(value, before[name]) for name, value in subject.model.state_dict().items())
    assert torch.equal(subject.model(tokens).logits, logits)
