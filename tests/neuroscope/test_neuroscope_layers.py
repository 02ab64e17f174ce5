"""Replay's answer to weights that are nearly those of the store: only what the same weights would give agrees."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from export_twins import collected, export
from replay_twins import (
    activations,
    another_machine,
    changed_stories,
    noise,
    replayed,
    rows_of,
    swapped_neurons,
    write_pages,
)  # fmt: skip

from neurolocal.cli.main import cli
from neurolocal.neuroscope.imports.from_pages import import_pages
from neurolocal.neuroscope.replay.job import ReplayJob, run
from neurolocal.neuroscope.replay.replay_output import conclusion
from neurolocal.neuroscope.replay.replay_result import ReplayResult
from neurolocal.store import Store
from neurolocal.subject import load_subject

pytestmark = pytest.mark.usefixtures("one_thread")

NEURONS = tuple(range(3, 172, 24))


@pytest.fixture(scope="module")
def own_pages(fixtures, tmp_path_factory) -> Path:
    """Our own pages of stories260k, which state float32, as a store."""
    folder = tmp_path_factory.mktemp("own")
    export(collected(folder, fixtures, neurons=NEURONS), folder / "site", model="m", dataset="d")
    import_pages([folder / "site"], folder / "pages.h5", say=lambda line: None, bar=False)
    return folder / "pages.h5"


def replay_store(store: Path, subject: Path, *, dtype: str | None = None, texts: int | None = 200) -> ReplayResult:
    with Store(store) as opened:
        job = ReplayJob(opened, subject=str(subject), dtype=dtype)
        return run(job, texts=texts, say=lambda line: None, bar=False)


def test_the_same_weights_are_the_same(own_pages, stories) -> None:
    found = replay_store(own_pages, stories)
    assert (found.level, found.agrees, found.same) == ("float32", True, True)
    assert {one.layer for one in found.layers} == set(range(5)), "every layer is drawn"
    assert all(one.exact == 1 for one in found.layers)


@pytest.mark.parametrize("share", [1e-4, 3e-4, 1e-3, 3e-3, 1e-2])
def test_noise_in_the_weights_is_not_rounding(share, own_pages, stories, tmp_path, rng) -> None:
    changed = changed_stories(tmp_path / "m", stories, noise(share, rng))
    found = replay_store(own_pages, changed)
    assert (found.level, found.agrees) == ("nothing", False), conclusion(found)
    assert "The pages state float32" in conclusion(found)


@pytest.mark.parametrize("share", [1e-3, 1e-2])
def test_an_edit_of_one_layer_is_named(share, own_pages, stories, tmp_path, rng) -> None:
    changed = changed_stories(tmp_path / "m", stories, noise(share, rng, only="layers.3.mlp"))
    found = replay_store(own_pages, changed)
    assert (found.level, found.agrees) == ("nothing", False), conclusion(found)
    assert "Layers 0, 1, 2 agree exactly" in conclusion(found)
    assert [bool(one.why) for one in found.layers] == [False, False, False, True, True]


def test_two_neurons_that_changed_places_are_found(own_pages, stories, tmp_path, rng) -> None:
    layer, (a, b) = int(rng.integers(5)), rng.choice(NEURONS, 2, replace=False).tolist()
    changed = changed_stories(tmp_path / "m", stories, swapped_neurons(layer, a, b))
    found = replay_store(own_pages, changed)
    assert (found.level, found.agrees) == ("nothing", False)
    wrong = [one for one in found.layers if one.why]
    assert [one.layer for one in wrong] == [layer]
    assert wrong[0].neuron in (a, b)
    assert f"neuron {wrong[0].neuron}" in conclusion(found)


def test_the_command_exits_with_1(own_pages, stories, tmp_path, rng) -> None:
    changed = changed_stories(tmp_path / "m", stories, noise(3e-3, rng))
    ended = CliRunner().invoke(cli, ["neuroscope", "replay", str(own_pages), "--subject", str(changed)])
    assert ended.exit_code == 1, ended.output
    assert "nothing that was tried fits" in ended.output
    assert re.search(r"^ *4 .*differs$", ended.output, re.MULTILINE)


def test_a_store_in_bfloat16_is_the_same_in_bfloat16(fixtures, stories, tmp_path, rng) -> None:
    store = collected(tmp_path, fixtures, neurons=NEURONS, dtype="bfloat16")
    found = replay_store(store, stories)
    assert (found.level, found.same, found.agrees) == ("bfloat16", True, True)
    assert "the same" in conclusion(found)
    assert "rounds" not in conclusion(found)
    assert replay_store(store, stories, dtype="float32").agrees
    changed = changed_stories(tmp_path / "m", stories, noise(1e-2, rng, only="layers.3.mlp"))
    edited = replay_store(store, changed)
    assert not edited.agrees, conclusion(edited)


def site_pages(folder: Path, subject: Path, *, autocast: bool = True, other: bool = True, n: int = 20) -> None:
    """Pages that do not state their dtype, of five layers; computed with other kernels if `other`."""
    one = load_subject(str(subject), device="cpu")
    if other:
        one.model.set_attn_implementation("eager")
    rows = rows_of(one, n=n)
    rows[:, 1:] = np.random.default_rng(0).permuted(rows[:, 1:], axis=1)
    with another_machine() if other else contextlib.nullcontext():
        values = {layer: activations(one, rows, layer, "post", autocast=autocast) for layer in range(5)}
    write_pages(folder / "pages", one, rows, values, model="m", neurons=8)


def test_bfloat16_of_another_machine_is_rounding(stories, tmp_path) -> None:
    site_pages(tmp_path, stories)
    found = replayed(tmp_path, stories, texts=600)
    assert (found.level, found.agrees, found.same) == ("bfloat16", True, False), conclusion(found)
    assert found.rounding == "autocast"
    assert all(0.8 < one.size < 1.25 and one.shared > 0.35 for one in found.layers), found.layers


@pytest.mark.parametrize(("share", "only"), [(3e-3, ""), (1e-2, ""), (2e-2, "layers.2.mlp")])
def test_other_weights_in_bfloat16_are_not_rounding(share, only, stories, tmp_path, rng) -> None:
    changed = changed_stories(tmp_path / "m", stories, noise(share, rng, only=only))
    site_pages(tmp_path, changed)
    found = replayed(tmp_path, stories, texts=600)
    assert (found.level, found.agrees) == ("nothing", False), conclusion(found)


@pytest.mark.parametrize("share", [1e-3, 3e-3, 5e-3, 1e-2])
def test_noise_as_large_as_rounding_is_not_rounding(share, stories, tmp_path, rng) -> None:
    """The pages are in float32 but do not state it: the size of the differences alone would pass."""
    changed = changed_stories(tmp_path / "m", stories, noise(share, rng))
    site_pages(tmp_path, changed, autocast=False, other=False)
    found = replayed(tmp_path, stories, texts=600)
    assert (found.level, found.agrees) == ("nothing", False), conclusion(found)
