"""A whole collection on stories260k: stopped, killed, sharded, or fed a broken file, it ends in the same bits."""

from typing import Any

import pytest
import zstandard
from small_collection import CONFIG, after, content, lines, run

from neurolocal.config import CollectConfig
from neurolocal.errors import CorpusError, StoreError
from neurolocal.pipeline.collect import Collection, collect_store
from neurolocal.store import Store


def test_what_a_collection_says_of_itself(whole, corpus):
    _, found, outcome = whole
    manifest = found["manifest"]
    assert (manifest["rows"], manifest["tokens"], manifest["complete"]) == (outcome.rows, outcome.n_tokens, True)
    assert manifest["corpus"]["skipped"] == {"not JSON": 8}
    assert manifest["corpus"]["documents"] == 32
    assert manifest["corpus"]["rows_sha256"] == manifest["cursor"]["digest"]
    assert [f["name"] for f in manifest["corpus"]["files"]] == [corpus.name]
    assert outcome.n_tokens == 31 * outcome.rows


def test_a_complete_store_is_left_alone(subject, corpus, whole, tmp_path):
    path, said = tmp_path / "s.h5", []
    path.write_bytes(whole[0].read_bytes())
    assert run(subject, corpus, path, said=said) is None
    assert said == [f"collect: {path} is complete and its inputs are unchanged; nothing to do"]


def test_other_inputs_are_refused_or_collected_anew(subject, corpus, whole, tmp_path):
    path, other = tmp_path / "s.h5", tmp_path / corpus.name
    path.write_bytes(whole[0].read_bytes())
    other.write_text("\n".join(lines(41)))
    cases: Any = (
        ({"k": 6}, corpus, "config.k: 5 -> 6"),
        ({"layers": None}, corpus, "config.layers: [0,2,4] -> null"),
        ({}, other, f"corpus.{corpus.name}: "),
    )
    for settings, text, differs in cases:
        with pytest.raises(StoreError) as caught:
            run(subject, text, path, **settings)
        assert f"collecting into {path}: it was made from something else ({differs}" in str(caught.value)
        assert "Give another --store, or delete this one." in str(caught.value)
        assert path.read_bytes() == whole[0].read_bytes()
    said = []
    run(subject, other, path, said=said, replace=True)
    assert said[0].startswith("collect: again, since corpus.c.jsonl: ")
    with Store(path) as store:
        assert store.manifest["corpus"]["documents"] == 33


@pytest.mark.parametrize("share", [0.3, 0.8])
def test_a_corpus_that_breaks_off_is_resumed_when_it_is_whole(subject, whole, corpus, tmp_path, share):
    packed, path, said = tmp_path / "c.jsonl.zst", tmp_path / "s.h5", []
    parts = corpus.read_bytes().splitlines(keepends=True)
    frames = b"".join(zstandard.ZstdCompressor().compress(p) for p in parts)
    packed.write_bytes(frames[: int(share * len(frames))])
    with pytest.raises(CorpusError, match="what was collected is kept, and the same command resumes"):
        run(subject, packed, path)
    with Store(path) as store:
        kept = store.manifest["rows"]
        assert 0 < kept < whole[2].rows
        assert not store.manifest["complete"]
    packed.write_bytes(frames)
    run(subject, packed, path, said=said)
    assert said[0] == f"collect: {packed} has changed; comparing the text that was read so far"
    assert said[1] == f"collect: resuming at row {kept:,} of {path}"
    found = content(path)
    assert {k: v for k, v in found.items() if k != "manifest"} == {k: v for k, v in whole[1].items() if k != "manifest"}
    assert found["manifest"]["cursor"] == whole[1]["manifest"]["cursor"]


def test_another_text_in_the_same_file_is_refused(subject, corpus, tmp_path):
    changed, path = tmp_path / "c.jsonl", tmp_path / "s.h5"
    changed.write_bytes(corpus.read_bytes())
    run(subject, changed, path, stop=after(3))
    kept = path.read_bytes()
    changed.write_bytes(corpus.read_bytes().replace(b"cat", b"hat", 1))
    with pytest.raises(StoreError, match=r"made from something else \(corpus.c.jsonl"):
        run(subject, changed, path)
    assert path.read_bytes() == kept


def test_an_empty_corpus_leaves_nothing(subject, tmp_path):
    (tmp_path / "c.jsonl").write_text("")
    with pytest.raises(CorpusError, match="no rows in"):
        run(subject, tmp_path / "c.jsonl", tmp_path / "out" / "s.h5")
    assert [p.name for p in tmp_path.iterdir()] == ["c.jsonl"]


def test_the_bar_has_an_estimate(subject, corpus, tmp_path, monkeypatch):
    from neurolocal.collect import loop

    totals = []

    class Bar(loop.Bar):
        def set_postfix_str(self, *args, **kwargs):
            totals.append(self.total)

    monkeypatch.setattr(loop, "Bar", Bar)
    job = Collection(subject, corpus, tmp_path / "s.h5", CollectConfig(**CONFIG))
    outcome = collect_store(job, say=lambda line: None)
    assert outcome is not None
    assert totals[-1] == pytest.approx(outcome.rows, rel=0.05)
    assert totals[len(totals) // 2] == pytest.approx(outcome.rows, rel=0.25)
