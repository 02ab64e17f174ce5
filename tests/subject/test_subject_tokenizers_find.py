"""A tokenizer from another folder, and one that is missing."""

from __future__ import annotations

from checkpoint_twins import refusal
from legacy_twins import CONFIG, random_weights, write_legacy

from neurolocal.subject import load_subject


def test_a_tokenizer_from_elsewhere(stories, tmp_path, own_cache, monkeypatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    folder = write_legacy(tmp_path / "m", CONFIG, random_weights(CONFIG, seed=0), tokenizer_from=None)
    text = refusal(folder)
    assert "has no whole tokenizer at EleutherAI/no-such-tokenizer" in text
    assert "put tokenizer.json into it, or pass a tokenizer's folder as `tokenizer`" in text
    subject = load_subject(folder, device="cpu", tokenizer=stories)
    true = load_subject(stories, device="cpu")
    assert subject.encode(["Once upon a time"]) == true.encode(["Once upon a time"])
    assert subject.bos == true.bos
    (folder / "tokenizer.json").write_bytes((stories / "tokenizer.json").read_bytes())  # alone, it names no BOS
    bare = load_subject(folder, device="cpu")
    assert bare.encode(["Once upon a time"]) == true.encode(["Once upon a time"])
    assert (bare.bos, bare.eos) == (true.bos, true.eos)
