"""Every architecture, from a folder as a user has it: all sites of all layers equal plain hooks on transformers' model.

The rows are longer than the sliding windows, and one ends in padding. Branches side by side equal plain passes too.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from architecture_kinds import ARCHITECTURES, REFUSED, WRAPPERS, Kind
from architecture_twins import build, build_from, largest_difference, logit_difference, packed_difference, rows
from load_twins import refusal
from subject_twins import save_folder

from neurolocal.subject import load_subject

ALL: dict[str, Kind] = ARCHITECTURES | WRAPPERS


@pytest.mark.parametrize("name", ALL)
def test_activations_equal_plain_hooks(name: str, tmp_path: Path, own_cache, rng) -> None:
    model = build(name, seed=int(rng.integers(2**31)))
    subject = load_subject(save_folder(model, tmp_path / "model"), device="cpu")
    places = ALL[name].places
    assert subject.sites == ("post", "pre", "pre_linear")[: len([path for path in places[1:] if path])]
    assert largest_difference(subject, model, rows(rng), places) < 1e-4
    difference, packs = packed_difference(subject, model, places, rng)
    assert difference < 1e-3
    assert packs == ALL[name].packs


@pytest.mark.parametrize("name", WRAPPERS)
def test_only_the_text_part_is_loaded_and_its_logits_are_the_wrappers(
    name: str, tmp_path: Path, own_cache, rng
) -> None:
    model = build(name, seed=int(rng.integers(2**31)))
    subject = load_subject(save_folder(model, tmp_path / "model"), device="cpu")
    assert logit_difference(subject, model, rows(rng)[:1]) < 1e-4
    names = {id(module): path for path, module in model.named_modules()}
    text = names[id(model.get_decoder())]
    there = {path for path, _ in subject.model.named_parameters()} - {"model.image_newline"}  # a vector of LLaVA's
    assert there == {path for path, _ in model.named_parameters() if path.startswith((f"{text}.", "lm_head"))}
    assert subject.unembeds


@pytest.mark.parametrize("name", ["Llama", "Gemma 3", "Qwen2.5-VL", "GPT-2"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision(name: str, dtype, tmp_path: Path, own_cache, rng) -> None:
    model = build(name, seed=int(rng.integers(2**31)))
    subject = load_subject(save_folder(model, tmp_path / "model"), dtype=dtype, device="cpu")
    half = model.to(getattr(torch, dtype))
    assert largest_difference(subject, half, rows(rng), ALL[name].places) < (0.1 if dtype == "bfloat16" else 0.02)


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_adapter_is_refused_by_its_name(name: str, tmp_path: Path, own_cache) -> None:
    import transformers

    config, settings = REFUSED[name]
    model = build_from(getattr(transformers, config)(**settings), seed=0)
    text = refusal(save_folder(model, tmp_path / "model"))
    assert f"looking for the neurons of a {type(model).__name__}: TransformerLens" in text
    assert "has no adapter for it" in text


def test_the_readmes_table_names_every_architecture() -> None:
    """`python scripts/architectures.py --write` makes it."""
    readme = (Path(__file__).parents[2] / "neurolocal" / "subject" / "README.md").read_text(encoding="utf-8")
    table = readme.partition("<!-- architectures -->")[2].partition("<!-- end architectures -->")[0]
    named = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")]
    assert set(named) - {"architecture", "---"} >= set(ALL)
    for name in REFUSED:
        assert name in readme
        assert name not in named
