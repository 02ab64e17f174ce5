"""What tests of the export share: a collected store, random pages, and three readers that must accept them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from listeners import silent
from reader_twins import RefusedError, by_scripts, by_sections, by_splitting
from small_run import write_corpus

from neurolocal.config import CollectConfig
from neurolocal.neuroscope.export.neuron_page import NeuronPage, PageText, page_text
from neurolocal.neuroscope.export.website import export_site
from neurolocal.store import Store

ROW, K = 64, 20

HOSTILE = [
    "</script>", "<hr>", "\n<hr>\n", '"', "'", ", ", '], "values', '{"tokens": ', ', "values": ', "\\", "\u202e", "-->",
    "<h4>Max Act: <b>9</b>", "\n", "\ufffd", "😀", "\u2028", "\0", "<!-- neurolocal sha256 ", "</details>", "", " a",
    "\r\n", "ColoredTokens, {}", "&lt;", "&amp;", "]", "values", "\ud800",
]  # fmt: skip


def collected(folder: Path, fixtures: Path, **more) -> Path:
    """A store of stories260k."""
    from neurolocal.pipeline.collect import Collection, collect_store
    from neurolocal.subject import load_subject

    config = CollectConfig(**({"row_length": ROW, "k": K, "before": 9, "after": 4, "sample": 8, "logits": 0} | more))
    corpus = write_corpus(folder / "corpus.jsonl", documents=14)
    subject = load_subject(str(fixtures / "stories260k"), dtype=config.dtype)
    collect_store(Collection(subject, corpus, folder / "s.h5", config), say=silent, bar=False)
    return folder / "s.h5"


def export(path: Path, out: Path, *, site=None, **more):
    """Export as the command does."""
    from neurolocal.subject import load_subject

    with Store(path, site=site) as store:
        manifest = store.manifest
        return export_site(
            store, out, subject=lambda: load_subject(manifest["subject"]["path"], dtype=manifest["config"]["dtype"]),
            **({"bar": False} | more),
        )  # fmt: skip


def texts_of(rng: np.random.Generator, n: int = 20, *, tokens: list[str] | None = None) -> list[PageText]:
    """Any texts."""
    found = []
    for _ in range(n):
        own = tokens or [f" t{i}" for i in rng.integers(0, 99, rng.integers(1, 150))]
        values = rng.normal(size=len(own)).astype(np.float32)
        found.append(PageText(int(rng.integers(0, 1 << 40)), int(rng.integers(0, len(own))), own, values))
    return found


def page_of(texts: list[PageText], **more) -> str:
    return page_text(
        NeuronPage(**({"model": "m", "dataset": "d", "layer": 2, "neuron": 7, "texts": texts, "facts": {}} | more))
    )


def accepted(page: str, texts: list[PageText], *, layer: int = 2, neuron: int = 7) -> None:
    """All three readers take the page, and give back what it was made from."""
    rounded = [[float(f"{v:.6f}") for v in text.values.tolist()] for text in texts]
    windows = [slice(max(t.position - 50, 0), t.position + 11) for t in texts]
    first = by_scripts(page)
    assert [f.values for f in first] == [v[w] for v, w in zip(rounded, windows, strict=True)]
    for found, text, window in zip(first, texts, windows, strict=True):
        if not any(set('",\\<>&') & set(t) or not t.isascii() or not t.isprintable() or not t for t in text.tokens):
            assert found.tokens == text.tokens[window]
    figures = by_sections(page, layer=layer, neuron=neuron)
    assert [(f.tokens, f.values, f.position, f.row) for _, f in figures] == [
        (list(t.tokens), v, t.position, t.row) for t, v in zip(texts, rounded, strict=True)
    ]
    reach = max(abs(float(t.values[t.position])) for t in texts)
    for said, text in zip((s for s, _ in figures), texts, strict=True):
        assert float(said["range"][0]) == -float(said["range"][1]) == pytest.approx(reach, abs=5.1e-5)
        assert float(said["act"][0]) == pytest.approx(text.values[text.position], abs=5.1e-5)
        assert float(said["act"][1]) == pytest.approx(text.values.min(), abs=5.1e-5)
        assert said["maxValue"] == -said["minValue"] == float(f"{reach:.6f}")
    if len(texts) == 20:
        most, second = by_splitting(page)
        assert most == pytest.approx(texts[0].values[texts[0].position], abs=5.1e-5)
        assert [(f.tokens, f.values) for f in second] == [
            (list(t.tokens), v) for t, v in zip(texts, rounded, strict=True)
        ]
    else:
        with pytest.raises(RefusedError):
            by_splitting(page)


def close(a: str, b: str) -> bool:
    """Equal except for the last digit of values: batches of another size round differently."""
    pattern = re.compile(r"-?\d+\.\d{6}")
    mask = re.compile(r"[0-9a-f]{32,64}")
    same = mask.sub("", pattern.sub("", a)) == mask.sub("", pattern.sub("", b))
    return same and np.allclose(*(np.array(pattern.findall(x), float) for x in (a, b)), atol=3e-6)
