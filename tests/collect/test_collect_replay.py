"""Examples of a store, computed again: all agree on the subject that made them; a changed one is named."""

import json
from typing import Any

import h5py
import numpy as np
import pytest
from little_memory import rows_at_most

from neurolocal.collect import replay as module
from neurolocal.collect.replay import replay
from neurolocal.config import CollectConfig
from neurolocal.errors import StoreError
from neurolocal.pipeline.collect import Collection, collect_store
from neurolocal.store import Store, datasets


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def made(request, fixtures, tmp_path_factory):
    """A subject and its store: three sites, sign cases, some neurons."""
    from neurolocal.subject import load_subject

    folder, rng = tmp_path_factory.mktemp("replay"), np.random.default_rng(1)
    words = ["cat", "dog", "Lily", "ran", "happy", "the", "ball", "red", "said", "and"]
    lines = [json.dumps({"text": " ".join(rng.choice(words, 70))}) for _ in range(20)]
    (folder / "c.jsonl").write_text("\n".join(lines))
    subject = load_subject(str(fixtures / "stories260k"), dtype=request.param)
    config = CollectConfig(
        row_length=32, k=6, before=6, after=3, dtype=request.param, batch_size=5, layers=(1, 4), sample=9, logits=0,
        sites=("pre", "post", "pre_linear"), sign_cases=True, neurons=tuple(range(3, 90, 4)),
    )  # fmt: skip
    job = Collection(subject, folder / "c.jsonl", folder / "s.h5", config)
    collect_store(job, say=lambda line: None, bar=False)
    return subject, job.store


def test_what_was_collected_is_what_the_subject_computes(made, rng, monkeypatch):
    subject, path = made
    seen = []
    monkeypatch.setattr(module, "BATCH", int(rng.integers(1, 12)))
    kept = module._compared
    monkeypatch.setattr(module, "_compared", lambda c, *args: (seen.append(c), kept(c, *args))[1])
    with Store(path) as store:
        found = replay(store, subject, n=160, seed=int(rng.integers(2**31)))
        stored = len(store.row_index)
    assert found.off == ()
    assert found.examples == len(seen) == 160
    assert found.rows == len({c.row for c in seen}) > 0.7 * stored
    assert found.largest <= found.tolerance
    assert found.of_layer <= found.tolerance
    assert found.correlation > 0.999
    each = np.unique([f"{c.site} {c.layer} {c.side}" for c in seen], return_counts=True)[1]
    assert each.tolist() == [160 // 20] * 20  # 2 layers of 2 + 6 + 2 sides
    assert {c.neuron for c in seen} <= set(range(3, 90, 4))
    assert len({(c.site, c.layer, c.side, c.neuron, c.rank) for c in seen}) == 160


def test_rows_are_distinct_as_far_as_there_are_so_many(made):
    subject, path = made
    with Store(path) as store:
        found = replay(store, subject, n=20, seed=3)
        assert found.rows == min(20, len(store.row_index))
        assert replay(store, subject, n=0).examples == 0
        every = replay(store, subject, n=10**5)
        assert every.off == ()
        assert every.examples > 20 * 22 * 2


@pytest.mark.parametrize("what", ["activation", "window", "position"])
def test_a_changed_example_is_named(made, tmp_path, what):
    subject, path = made
    other, name = tmp_path / "s.h5", f"collect/post/4/gate-_in+/{what}"
    other.write_bytes(path.read_bytes())
    with h5py.File(other, "r+") as opened:
        file: Any = opened
        old = np.asarray(file[name])
        if what == "position":
            old[7, 0] = 1 + (old[7, 0] + 10) % 25
        elif what == "window":
            old[7, 0, 6] = np.nan
        else:
            old[7, 0] += 9
        del file[name]
        datasets.put(file, name, old)
    with Store(other) as store:
        found = replay(store, subject, n=10**5)
    assert [(o.site, o.layer, o.side, o.neuron, o.rank) for o in found.off] == [("post", 4, "gate-_in+", 31, 0)]
    assert found.largest == found.off[0].difference > found.tolerance
    assert "post layer 4 neuron 31 gate-_in+ rank 0: row" in str(found.off[0])
    assert "\n" not in str(found.off[0])
    if what == "window":
        assert found.largest == np.inf


def test_another_subject_is_refused(made, fixtures, monkeypatch):
    subject, path = made
    with Store(path) as store:
        monkeypatch.setattr(subject, "sha256", "0" * 64)
        with pytest.raises(StoreError, match=r"made with another weights .*this is 000000000000\). Give the subject"):
            replay(store, subject, n=3)
        monkeypatch.undo()
        monkeypatch.setattr(type(subject), "dtype", "torch.float16")
        with pytest.raises(StoreError, match=r"made with another dtype .*this is float16"):
            replay(store, subject, n=3)


def test_a_replay_goes_on_with_smaller_batches_where_memory_runs_out(made, monkeypatch):
    subject, path = made
    with Store(path) as store:
        whole = replay(store, subject, n=60, seed=4)
        said, sizes = [], rows_at_most(monkeypatch, 3)
        assert len(sizes) == 0
        small = replay(store, subject, n=60, seed=4, say=said.append)
    assert [size for size in sizes if size > 3] == [8, 4]
    assert max(sizes[2:]) == 2
    assert said[0] == (
        f"replaying {path} on {subject.name}: out of memory with 8 rows a pass; going on with 4"
    )  # fmt: skip
    assert (small.examples, small.rows, small.off) == (whole.examples, whole.rows, ())


def test_only_the_lists_of_chosen_neurons_are_read(made, monkeypatch):
    subject, path = made
    asked = []
    top = Store.top
    monkeypatch.setattr(Store, "top", lambda self, *a: (asked.append(a[2:]), top(self, *a))[1])
    monkeypatch.setattr(module, "WHOLE", 1)
    with Store(path) as store:
        replay(store, subject, n=40)
    assert 30 < len(asked) <= 40
    assert all(part[0].stop - part[0].start == 1 for part in asked)
