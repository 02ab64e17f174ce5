"""Shards of a collection merge into the store of a single run; what does not belong together is refused."""

import pytest
from small_collection import after, content, run

from neurolocal.errors import StoreError
from neurolocal.pipeline.merge import merge_stores


@pytest.mark.parametrize("shards", [2, 30])
def test_shards_merged_are_the_single_run(subject, corpus, whole, tmp_path, shards, rng):
    """With more shards than batches some hold nothing."""
    parts = [tmp_path / f"{i}.h5" for i in range(shards)]
    for i, path in enumerate(parts):
        run(subject, corpus, path, shard=i, shards=shards)
    said: list[str] = []
    merge_stores(tmp_path / "m.h5", [parts[i] for i in rng.permutation(shards)], say=said.append)
    assert content(tmp_path / "m.h5") == whole[1]
    assert said[0].startswith(f"merge: {shards} shards, {whole[2].rows:,} rows")


def test_what_does_not_belong_together_is_not_merged(subject, corpus, tmp_path):
    parts = [tmp_path / f"{i}.h5" for i in range(3)]
    for i, path in enumerate(parts):
        run(subject, corpus, path, shard=i, shards=3)
    other, stopped, out = tmp_path / "k.h5", tmp_path / "stopped.h5", tmp_path / "m.h5"
    run(subject, corpus, other, shard=1, shards=3, k=4)
    run(subject, corpus, stopped, shard=1, shards=3, stop=after(2))
    cases = (
        ((0, 2), "1 of 3 shards are missing: number 1, counted from 0. Give all of them."),
        ((0, 1, 2, 1), "both are shard 1. Give each shard once."),
        ((0, other, 2), "they are of different runs (config.k: 5 -> 4). Give the shards of one collection."),
        ((0, stopped, 2), "it stopped at row 8. Finish it by running its command again."),
    )
    for chosen, said in cases:
        with pytest.raises(StoreError) as caught:
            merge_stores(out, [parts[c] if isinstance(c, int) else c for c in chosen], say=lambda line: None)
        assert said in str(caught.value)
        assert not out.exists()
    out.write_text("mine")
    with pytest.raises(StoreError, match="the file exists"):
        merge_stores(out, parts, say=lambda line: None)
    assert out.read_text() == "mine"
