"""Direct logit effects are added to a store that is complete already, and what a kill left out is added later."""

from __future__ import annotations

import numpy as np
import pytest
from small_collection import after, content, run

from neurolocal.errors import StoreError
from neurolocal.pipeline import collect, effects
from neurolocal.pipeline.merge import merge_stores
from neurolocal.store import Store
from neurolocal.subject.logits import LogitLens


@pytest.fixture
def true(subject):
    """The effects of each layer."""
    lens = LogitLens(subject, 3)
    return {layer: lens.effects(layer) for layer in (0, 2, 4)}


def assert_there(path, true) -> None:
    with Store(path) as store:
        for layer, one in true.items():
            found = store.logit_effects(layer)
            assert found is not None
            for name, column in vars(one).items():
                np.testing.assert_array_equal(getattr(found, name), column)


def without_effects(path):
    return {name: value for name, value in content(path).items() if "/logits/" not in name}


class Killed(BaseException):
    """Nothing catches it."""


@pytest.mark.parametrize("written", [0, 1, 2])
def test_a_kill_loses_nothing_of_the_collection(written, subject, corpus, whole, true, tmp_path, monkeypatch):
    path, left = tmp_path / "s.h5", iter(range(written))
    plain = LogitLens.effects

    def killed(self, layer, **how):
        if next(left, None) is None:
            raise Killed
        return plain(self, layer, **how)

    monkeypatch.setattr(LogitLens, "effects", killed)
    add = effects.add_effects
    monkeypatch.setattr(collect, "add_effects", lambda *a, **how: add(*a, **how, every=0.0))
    with pytest.raises(Killed):
        run(subject, corpus, path, logits=3)
    monkeypatch.undo()
    with Store(path) as store:
        assert store.manifest["complete"]
        assert [store.logit_effects(layer) is not None for layer in (0, 2, 4)].count(True) == written
    with_settings = whole[1]["manifest"]["config"] | {"logits": 3}
    wanted = whole[1] | {"manifest": whole[1]["manifest"] | {"config": with_settings}}
    assert without_effects(path) == wanted, "what is complete is the collection without effects"
    said: list[str] = []
    assert run(subject, corpus, path, logits=3, said=said) is None
    assert any("nothing to do" in line for line in said)
    assert_there(path, true)
    assert without_effects(path) == wanted


def test_what_is_there_is_not_computed_again(subject, corpus, tmp_path, monkeypatch):
    path = tmp_path / "s.h5"
    run(subject, corpus, path, logits=3)
    before = path.stat().st_mtime_ns
    monkeypatch.setattr(LogitLens, "effects", lambda *_, **__: pytest.fail("computed again"))
    assert run(subject, corpus, path, logits=3) is None
    assert path.stat().st_mtime_ns == before


def test_a_stop_keeps_the_layers_that_were_done(subject, corpus, true, tmp_path):
    path = tmp_path / "s.h5"
    rest = run(subject, corpus, path, logits=0)
    assert rest is not None
    batches = -(-rest.rows // 4)
    path.unlink()
    outcome = run(subject, corpus, path, logits=3, stop=after(batches + 1))
    assert outcome is not None
    assert not outcome.complete
    with Store(path) as store:
        assert store.manifest["complete"]
        assert [store.logit_effects(layer) is not None for layer in (0, 2, 4)] == [True, False, False]
    stopped = run(subject, corpus, path, logits=3, stop=after(1))
    assert stopped is not None
    assert (stopped.rows, stopped.complete) == (rest.rows, False)
    assert run(subject, corpus, path, logits=3, stop=after(1)) is None, "the last layer was the last"
    assert_there(path, true)


def test_shards_merge_to_the_store_of_one_run(subject, corpus, true, tmp_path):
    """The first shard has the effects; a merged store whose first shard lacked them is given them by `collect`."""
    parts = [tmp_path / f"{i}.h5" for i in range(3)]
    for i, path in enumerate(parts):
        run(subject, corpus, path, logits=3, shard=i, shards=3)
    with Store(parts[1]) as store:
        assert store.logit_effects(0) is None
    merge_stores(tmp_path / "merged.h5", parts[::-1], say=lambda line: None)
    run(subject, corpus, tmp_path / "one.h5", logits=3)
    assert_there(tmp_path / "merged.h5", true)
    merged, one = content(tmp_path / "merged.h5"), content(tmp_path / "one.h5")
    assert {n for n in one if "/logits/" in n} == {n for n in merged if "/logits/" in n}
    assert all(merged[name] == one[name] for name in one if "/logits/" in name)


def test_a_model_without_effects_says_why(subject, corpus, tmp_path, monkeypatch):
    monkeypatch.setattr("neurolocal.subject.logits.why_no_logit_effects", lambda subject: "it has none")
    said: list[str] = []
    outcome = run(subject, corpus, tmp_path / "s.h5", logits=3, said=said)
    assert outcome is not None
    assert outcome.complete
    assert [line for line in said if "no direct logit effects" in line and "it has none" in line]


def test_effects_are_not_added_to_another_store(subject, corpus, tmp_path, monkeypatch):
    path, other = tmp_path / "s.h5", tmp_path / "other.h5"
    run(subject, corpus, other, k=4)
    wanted, plain = content(other), LogitLens.effects

    def replaced(self, layer, **how):
        if other.exists():
            other.replace(path)
        return plain(self, layer, **how)

    monkeypatch.setattr(LogitLens, "effects", replaced)
    with pytest.raises(StoreError, match="it was collected anew while collect was working"):
        run(subject, corpus, path, logits=3)
    assert content(path) == wanted
