"""Collections of models with experts: what the store holds equals a plain loop; shards, resuming, and `check`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from experts_twins import SPARSE, plain_layers, sparse_folder
from small_collection import after, content, lines, run

from neurolocal.errors import StoreError
from neurolocal.pipeline.merge import merge_stores
from neurolocal.records import Experts
from neurolocal.store import Store, check
from neurolocal.subject import load_subject

KINDS = tuple(SPARSE)
ALL: dict[str, Any] = {"layers": None, "row_length": 16, "k": 4, "sample": 30, "logits": 3}


@pytest.fixture(scope="module")
def subjects(tmp_path_factory, fixtures):
    """Kind -> a loaded folder, each made once."""
    made: dict[str, Any] = {}

    def of(kind: str) -> Any:
        if kind not in made:
            folder = tmp_path_factory.mktemp(kind)
            made[kind] = load_subject(str(sparse_folder(kind, folder, tokenizer_from=fixtures / "stories260k")))
        return made[kind]

    return of


@pytest.fixture
def text(tmp_path) -> Path:
    path = tmp_path / "corpus.jsonl"
    path.write_text("\n".join(lines(7)), encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_collected_equals_a_plain_loop(kind: str, subjects, text, tmp_path) -> None:
    subject = subjects(kind)
    run(subject, text, tmp_path / "s.h5", **ALL)
    report = check(tmp_path / "s.h5", progress=False)
    assert not report.faults
    with Store(tmp_path / "s.h5") as store:
        tokens, length = store.rows_stored
        assert store.row_index.tolist() == list(range(store.manifest["rows"]))  # few rows: all are kept
        layers, _ = plain_layers(subject.model, torch.from_numpy(tokens.astype(np.int64)))
        counted = np.arange(tokens.shape[1])[None] < length[:, None]
        counted[:, 0] = False
        for layer, true in enumerate(layers):
            _equals(store, layer, true.post, true.routed, counted)


def _equals(store: Store, layer: int, post: np.ndarray, routed: np.ndarray, counted: np.ndarray) -> None:
    record, before = store.record(layer), store.manifest["config"]["before"]
    statistics, experts, scale = record.statistics, record.experts, np.nanmax(np.abs(post))
    there = np.where(counted[:, :, None], post, np.nan)
    finite = np.isfinite(there).sum((0, 1))
    np.testing.assert_array_equal(statistics.count - statistics.nonfinite, finite)
    assert not record.unreadable.any()
    if routed.shape[2]:
        assert experts is not None
        n = routed.shape[2]
        assert experts.count[:n].tolist() == (routed & counted[:, :, None]).sum((0, 1)).tolist()
        assert all(count == counted.sum() for count in experts.count[n:])
    else:
        assert experts is None
    flat = there.reshape(-1, there.shape[2])
    used = finite > 0
    np.testing.assert_allclose(statistics.mean[used], np.nanmean(flat[:, used], axis=0), atol=1e-4 * scale)
    np.testing.assert_allclose(statistics.maximum[used], np.nanmax(flat[:, used], axis=0), atol=1e-5 * scale)
    np.testing.assert_allclose(
        record.sample, post[store.sample.row, store.sample.position].T, atol=1e-5 * scale, equal_nan=True
    )  # fmt: skip
    for side, sign in (("largest", 1.0), ("smallest", -1.0)):
        top = record.lists[side]
        strongest = np.sort(np.where(np.isnan(there), -np.inf, sign * there).max(axis=1), axis=0)[::-1]
        for j in range(there.shape[2]):
            best = strongest[:, j][np.isfinite(strongest[:, j])][: top.row.shape[1]]
            own = top.row[j] >= 0
            assert own.sum() == len(best)
            np.testing.assert_allclose(sign * top.activation[j][own], best, atol=1e-5 * scale)
            for row, position, window in zip(top.row[j][own], top.position[j][own], top.window[j][own], strict=True):
                at = position - before + np.arange(len(window))
                inside = (at >= 0) & (at < post.shape[1])
                np.testing.assert_allclose(window[inside], post[row, at[inside], j], atol=1e-5 * scale, equal_nan=True)


@pytest.mark.parametrize("kind", ["Qwen2Moe", "GptOss"])
def test_shards_and_interruptions_change_nothing(kind: str, subjects, text, tmp_path) -> None:
    subject, config = subjects(kind), ALL | {"layers": (1, 2), "sign_cases": True, "sites": ("post", "pre")}
    run(subject, text, tmp_path / "whole.h5", **config)
    whole = content(tmp_path / "whole.h5")
    path = tmp_path / "stopped.h5"
    run(subject, text, path, stop=after(2), **config)
    with Store(path) as store:
        assert not store.manifest["complete"]
    run(subject, text, path, **config)
    assert content(path) == whole
    parts = [tmp_path / f"{i}.h5" for i in range(3)]
    for i, part in enumerate(parts):
        run(subject, text, part, shard=i, shards=3, **config)
    merge_stores(tmp_path / "merged.h5", [parts[i] for i in (2, 0, 1)], say=lambda line: None)
    assert content(tmp_path / "merged.h5") == whole
    assert not check(tmp_path / "merged.h5", progress=False).faults
    assert "collect/post/2/experts/count" in whole


def test_chosen_neurons_are_those_of_the_whole(subjects, text, tmp_path) -> None:
    subject, chosen = subjects("Mixtral"), (0, 5, 47, 48, 100, 191)
    run(subject, text, tmp_path / "whole.h5", **ALL)
    run(subject, text, tmp_path / "some.h5", **ALL | {"neurons": chosen})
    assert not check(tmp_path / "some.h5", progress=False).faults
    with Store(tmp_path / "whole.h5") as whole, Store(tmp_path / "some.h5") as some:
        for layer in range(3):
            a, b = whole.record(layer), some.record(layer)
            for side in ("largest", "smallest"):
                np.testing.assert_array_equal(a.lists[side].window[list(chosen)], b.lists[side].window)
            np.testing.assert_array_equal(a.sample[list(chosen)], b.sample)
            assert a.effects is not None
            assert b.effects is not None
            np.testing.assert_array_equal(a.effects.promoted[list(chosen)], b.effects.promoted)
            assert a.experts is not None
            assert b.experts is not None
            np.testing.assert_array_equal(a.experts.count, b.experts.count)
            assert some.experts(layer) is not None
            assert [a.experts.name(n) for n in chosen][2:4] == ["expert 0 · neuron 47", "expert 1 · neuron 0"]


def test_only_a_model_with_experts_has_them_in_its_manifest(subjects, text, tmp_path) -> None:
    run(subjects("DeepseekV3"), text, tmp_path / "s.h5", **ALL | {"layers": (0, 2)})
    with Store(tmp_path / "s.h5") as store:
        subject = store.manifest["subject"]
        assert subject["d_mlp"] == [48, 144, 144]
        assert [subject[name] for name in ("experts", "d_expert", "d_shared")] == [[0, 8, 8], [0, 16, 16], [0, 16, 16]]
        assert store.experts(0) is None
        found = store.experts(2)
        assert isinstance(found, Experts)
        assert found.offsets.tolist() == [*range(0, 144, 16), 144]
        assert found.count[-1] == store.manifest["tokens"]
        assert found.count[:-1].sum() == 2 * store.manifest["tokens"]


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("offsets", lambda a: a + (np.arange(len(a)) == 1), "experts/offsets: other neurons"),
        ("offsets", lambda a: a[::-1].copy(), "does not rise from 0"),
        ("offsets", lambda a: a // 2, "ends at"),
        ("count", lambda a: a[:-1], "experts, 1 of them shared"),
        ("count", lambda a: a * 99, "counts more positions than there were"),
        ("count", lambda a: a - a, "experts/count"),
        ("count", lambda a: np.minimum(a, a.min()), "at an expert that always runs"),
        ("shared", lambda a: np.int64(2), "2 of them shared"),
    ],
)
def test_damage_is_found(name, change, said, subjects, text, tmp_path) -> None:
    path = tmp_path / "s.h5"
    run(subjects("DeepseekV3"), text, path, **ALL | {"layers": (2,)})
    with h5py.File(path, "r+") as file:
        place = f"collect/post/2/experts/{name}"
        value: Any = file[place]
        new = change(value[()])
        del file[place]
        file.create_dataset(place, data=new)
    faults = [str(fault) for fault in check(path, progress=False).faults]
    assert any(said in fault for fault in faults), faults
    with Store(path) as store:
        if "experts" not in said.split("/")[0] and "always" not in said:
            with pytest.raises(StoreError, match="damaged"):
                store.experts(2)


def test_experts_that_the_manifest_does_not_know(subjects, text, tmp_path) -> None:
    path = tmp_path / "s.h5"
    run(subjects("Mixtral"), text, path, **ALL | {"layers": (2,)})
    with h5py.File(path, "r+") as file:
        manifest = json.loads(str(file.attrs["manifest"]))
        for column in ("experts", "d_expert", "d_shared"):
            del manifest["subject"][column]
        file.attrs["manifest"] = json.dumps(manifest)
        del file.attrs["manifest_sha256"]
    assert "none, as the manifest's subject says" in str(check(path, progress=False).faults[0])
