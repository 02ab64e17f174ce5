"""Names: the hub cache's own, and TransformerLens's short ones, in a cache made for the test."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
import torch
from legacy_twins import CONFIG, old_layout, random_weights, write_legacy

from neurolocal.errors import SubjectError
from neurolocal.subject import load_subject, names
from neurolocal.subject.locate import locate
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


def put(hub: Path, name: str, *, revision: str = "0" * 40, main: bool = True) -> Path:
    """The folder of a repository's revision, as the hub's own client lays it out."""
    repository = hub / f"models--{name.replace('/', '--')}"
    if main:
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text(revision)
    folder = repository / "snapshots" / revision
    folder.mkdir(parents=True)
    return folder


def filled(folder: Path) -> Path:
    (folder / "config.json").write_text("{}")
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
    folder = filled(put(hub, repository))
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


def test_a_name_is_looked_up_without_importing_the_package(hub, fixtures, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "transformer_lens.supported_models", None)  # importing it now fails
    assert official_name("gpt2-small") == "gpt2"
    folder = filled(put(hub, "gpt2-small"))
    assert locate("gpt2-small") == folder
    assert locate(fixtures / "stories260k") == fixtures / "stories260k"


def test_the_table_of_names_is_the_packages_own(monkeypatch) -> None:
    """Also where a version of the package keeps it in another file."""
    from transformer_lens.supported_models import MODEL_ALIASES

    assert len(MODEL_ALIASES) > 100
    assert names._short_names() == MODEL_ALIASES
    monkeypatch.setattr(names.json, "loads", lambda text: {})
    assert names._short_names() is MODEL_ALIASES


def test_a_download_by_commit_has_no_main(hub) -> None:
    """The only snapshot is taken; of several, none is guessed."""
    first = filled(put(hub, "some/model", revision="a" * 40, main=False))
    assert locate("some/model") == first
    put(hub, "some/model", revision="c" * 40, main=False)
    assert locate("some/model") == first, "an empty snapshot is none"
    second = filled(put(hub, "some/model", revision="b" * 40, main=False))
    with pytest.raises(SubjectError) as caught:
        locate("some/model")
    text = str(caught.value)
    assert "holds 2 snapshots of it (aaaaaaaaaaaa, bbbbbbbbbbbb) and no refs/main" in text
    assert f"Give the path of one, such as {first}." in text
    assert "\n" not in text
    (hub / "models--some--model" / "refs").mkdir()
    (hub / "models--some--model" / "refs" / "main").write_text("b" * 40)
    assert locate("some/model") == second


@pytest.mark.parametrize("by", ["name", "path"])
def test_a_repository_of_ggufs(hub, by: str) -> None:
    folder = put(hub, "some/model-GGUF")
    spec = "some/model-GGUF" if by == "name" else str(folder)
    (folder / "mmproj-f16.gguf").write_bytes(b"GGUF")
    with pytest.raises(SubjectError, match=r"has no config\.json"):
        locate(spec)
    (folder / "model-Q4_0.gguf").write_bytes(b"GGUF")
    assert locate(spec) == folder / "model-Q4_0.gguf"
    (folder / "config.json").write_text("{}")
    assert locate(spec) == folder / "model-Q4_0.gguf", "a config is no model"
    (folder / "Q8_0").mkdir()
    (folder / "Q8_0" / "model-Q8_0.gguf").write_bytes(b"GGUF")
    with pytest.raises(SubjectError) as caught:
        locate(spec)
    text = str(caught.value)
    assert "it has 2 GGUF files (Q8_0/model-Q8_0.gguf, model-Q4_0.gguf)" in text
    assert f"Choose one: {spec}:Q8_0/model-Q8_0.gguf, or its path." in text
    assert locate(f"{spec}:Q8_0/model-Q8_0.gguf") == folder / "Q8_0" / "model-Q8_0.gguf"
    for wrong in ("other.gguf", "../../refs/x.gguf", "/etc/x.gguf"):
        with pytest.raises(SubjectError, match=f"has no {wrong}; its GGUF files are"):
            locate(f"{spec}:{wrong}")
    (folder / "model.safetensors").write_bytes(b"")
    assert locate(spec) == folder, "weights beside a config come before a GGUF"


def test_a_gguf_by_its_repository_loads(hub, stories_gguf) -> None:
    folder = put(hub, "some/stories")
    shutil.copyfile(stories_gguf, folder / "stories.gguf")
    subject = load_subject("some/stories", device="cpu")
    assert subject.name == "some/stories"
    assert subject.path == str(folder / "stories.gguf")
    assert load_subject("some/stories:stories.gguf", device="cpu").sha256 == subject.sha256


@pytest.mark.parametrize("spec", ["a" * 5000, "~no-such-user-here/model", "null\0byte", "../../etc", "models--x/../.."])
def test_names_that_are_none(spec: str, hub) -> None:
    with pytest.raises(SubjectError) as caught:
        locate(spec)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700 + len(spec)
