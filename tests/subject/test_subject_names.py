"""Names: the hub cache's own, and TransformerLens's short ones, in a cache made for the test."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
import torch
from legacy_twins import CONFIG, old_layout, random_weights, write_legacy

from neurolocal.errors import SubjectError
from neurolocal.subject import load_subject
from neurolocal.subject.load import locate
from neurolocal.subject.names import official_name


@pytest.fixture
def hub(tmp_path, monkeypatch, own_cache) -> Path:
    """An empty hub cache: its place is read when huggingface_hub is imported, so both are set."""
    import huggingface_hub.constants

    folder = tmp_path / "hub"
    folder.mkdir()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setenv("HF_HUB_CACHE", str(folder))
    return folder


def put(hub: Path, name: str) -> Path:
    """The folder of a repository's one revision, as the hub's own client lays it out."""
    repository = hub / f"models--{name.replace('/', '--')}"
    revision = "0" * 40
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(revision)
    folder = repository / "snapshots" / revision
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize(
    ("short", "repository"),
    [
        ("gpt2-small", "gpt2"),
        ("pythia-70m-v0", "EleutherAI/pythia-70m-v0"),
        ("solu-8l-pile", "NeelNanda/SoLU_8L_v21_old"),
        ("SoLU-8L-pile", "NeelNanda/SoLU_8L_v21_old"),
    ],
)
def test_short_names_stand_for_repositories(short: str, repository: str, hub) -> None:
    assert official_name(short) == repository
    with pytest.raises(SubjectError) as caught:
        load_subject(short, device="cpu")
    text = str(caught.value)
    assert f"does not hold {repository}, for which TransformerLens's {short} stands" in text
    assert "nothing is ever downloaded" in text
    assert "\n" not in text
    folder = put(hub, repository)
    assert locate(short) == folder
    assert locate(repository) == folder


def test_a_name_that_nobody_knows(hub) -> None:
    assert official_name("no-such-model") is None
    with pytest.raises(SubjectError, match="the local hub cache does not hold that name"):
        locate("no-such-model")


def test_a_model_and_its_tokenizer_by_short_name(hub, fixtures, rng) -> None:
    """An old SoLU model, its tokenizer in the cache under the name that its config says."""
    config = CONFIG | {"tokenizer_name": "NeelNanda/gpt-neox-tokenizer-digits"}
    weights = random_weights(config, seed=int(rng.integers(2**31)))
    folder = put(hub, "NeelNanda/SoLU_8L_v21_old")
    write_legacy(folder, config, old_layout(weights, all_left=True), tokenizer_from=None)
    with pytest.raises(SubjectError, match="has no whole tokenizer at NeelNanda/gpt-neox-tokenizer-digits"):
        load_subject("solu-8l-pile", device="cpu")
    words = put(hub, config["tokenizer_name"])
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(fixtures / "stories260k" / file, words / file)
    subject = load_subject("solu-8l-pile", device="cpu")
    assert subject.name == "solu-8l-pile"
    assert subject.path == str(folder)
    assert subject.sites == ("post", "mid", "pre")
    assert subject.activations(torch.zeros((1, 4), dtype=torch.long), 1, "mid").shape == (1, 4, 48)


def test_a_path_or_a_cached_name_imports_no_table(hub, fixtures, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "transformer_lens.supported_models", None)  # importing it now fails
    folder = put(hub, "gpt2-small")
    assert locate("gpt2-small") == folder
    assert locate(fixtures / "stories260k") == fixtures / "stories260k"
    with pytest.raises(ImportError):
        official_name("gpt2-small")
