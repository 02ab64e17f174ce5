"""The same architecture with weights that were never trained: another model, the same for a seed in every dtype."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from architecture_kinds import ARCHITECTURES, WRAPPERS
from architecture_twins import build, rows
from legacy_twins import CONFIG, random_weights, write_legacy
from subject_twins import save_folder

from neurolocal.subject import load_subject


def parameters(subject) -> dict[str, torch.Tensor]:
    return {name: x.clone() for name, x in subject.model.named_parameters()}


FEW = ("Llama", "GPT-2", "Gemma 3", "Qwen2.5-VL")
"""Plain, transposed, scaled, with experts, and inside a multimodal model; the others are tried with the slow tests."""


@pytest.mark.parametrize(
    "name", [pytest.param(x, marks=() if x in FEW else pytest.mark.slow) for x in (*ARCHITECTURES, *WRAPPERS)]
)
def test_every_architecture_can_be_drawn_anew(name: str, tmp_path: Path, own_cache, rng) -> None:
    folder = save_folder(build(name, seed=int(rng.integers(2**31))), tmp_path / "model")
    trained, drawn = load_subject(folder, device="cpu"), load_subject(folder, device="cpu", untrained=1)
    assert (drawn.d_mlp, drawn.sites, drawn.facts()["architecture"]) == (
        trained.d_mlp, trained.sites, trained.facts()["architecture"],
    )  # fmt: skip
    ours, theirs = parameters(drawn), parameters(trained)
    assert ours.keys() == theirs.keys()
    assert all(bool(x.isfinite().all()) and x.shape == theirs[name].shape for name, x in ours.items())
    matrices = [name for name, x in ours.items() if x.ndim > 1 and float(theirs[name].std()) > 0]
    assert matrices
    for name in matrices:
        assert abs(float(torch.corrcoef(torch.stack([ours[name].flatten(), theirs[name].flatten()]))[0, 1])) < 0.5
    out = drawn.body(input_ids=rows(rng)[:1], use_cache=False)[0]
    assert bool(out.isfinite().all())


def test_the_seed_names_the_weights_whatever_their_dtype(tmp_path: Path, own_cache) -> None:
    folder = save_folder(build("Llama", seed=3), tmp_path / "model")
    trained, one = load_subject(folder, device="cpu"), load_subject(folder, device="cpu", untrained=1)
    half = load_subject(folder, device="cpu", untrained=1, dtype="bfloat16")
    two = load_subject(folder, device="cpu", untrained=2)
    assert len({trained.sha256, one.sha256, two.sha256}) == 3
    assert (one.sha256, one.facts()["untrained"], "untrained" in trained.facts()) == (half.sha256, 1, False)
    assert one.tokenizer_facts()["sha256"] == trained.tokenizer_facts()["sha256"]
    for name, x in parameters(half).items():
        assert torch.equal(x.float(), parameters(one)[name])
    assert not torch.equal(parameters(one)["lm_head.weight"], parameters(two)["lm_head.weight"])


def test_it_does_not_depend_on_the_state_of_torchs_generator(tmp_path: Path, own_cache, monkeypatch) -> None:
    folder = save_folder(build("GPT-2", seed=3), tmp_path / "model")
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = parameters(load_subject(folder, device="cpu", untrained=5))
    assert torch.equal(before, torch.random.get_rng_state())
    monkeypatch.setenv("NEUROLOCAL_CACHE", str(tmp_path / "another"))
    torch.manual_seed(2)
    second = parameters(load_subject(folder, device="cpu", untrained=5))
    assert all(torch.equal(x, second[name]) for name, x in first.items())


def test_transformerlens_own_models_are_drawn_too(tmp_path: Path, own_cache, fixtures) -> None:
    weights = random_weights(CONFIG, seed=1)
    folder = write_legacy(tmp_path / "solu", CONFIG, weights, tokenizer_from=fixtures / "stories260k")
    trained, drawn = load_subject(folder, device="cpu"), load_subject(folder, device="cpu", untrained=0)
    weight = drawn.model.get_submodule(drawn.paths.out[1]).weight
    assert weight.shape == trained.model.get_submodule(drawn.paths.out[1]).weight.shape
    assert float(weight.std()) == pytest.approx(0.8 / CONFIG["d_model"] ** 0.5, rel=0.2)
    assert {float(x) for x in drawn.model.get_submodule("transformer.h.0.ln_1").weight} == {1.0}
