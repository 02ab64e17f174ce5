"""Any kind of file -> a store, through `import_any` and the command line."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from import_twins import ENGLISH, corpus, faultless, write
from listeners import silent
from page_twins import HOSTILE
from small_run import neurolocal

from neurolocal.config import SimilarityConfig
from neurolocal.errors import StoreError
from neurolocal.neuroscope.imports.kinds import import_any
from neurolocal.pipeline.stages import run_stage
from neurolocal.pipeline.workspace import Workspace
from neurolocal.store import Store, find


def test_other_commands_work_on_an_imported_store(tmp_path, rng):
    """Find, similarity, and what the command line prints."""
    words = [f" {w}" for w in ENGLISH]
    pages = corpus(rng, 15, words=words)
    write(tmp_path / "pages", pages)
    (tmp_path / "pages" / "1" / "77.html").write_text("<html>")
    vectors = [f"{w} {' '.join(f'{x:.4f}' for x in rng.normal(size=8))}" for w in ENGLISH]
    (tmp_path / "vectors.txt").write_text("\n".join(vectors) + "\n")
    said: list[str] = []
    import_any([tmp_path / "pages"], tmp_path / "a.h5", say=said.append, bar=False)
    assert "  1/77.html: it ends before its first text" in said
    with Store(tmp_path / "a.h5") as store:
        for word in ENGLISH[:4]:
            peaks = {
                (p["layer"], p["neuron"])
                for p in pages
                for t in p["texts"]
                if t["tokens"][int(np.argmax(t["values"]))] == f" {word}"
            }
            hits = find(store, word, word=True) if peaks else []
            assert {(h.layer, h.neuron) for h in hits} == peaks
    run_stage("similarity", 
        Workspace(tmp_path / "a.h5", layers=(1, 4), vectors=str(tmp_path / "vectors.txt"), device="cpu", bar=False,
              sides=("largest",), say=silent),
        SimilarityConfig(draws=30),
    )  # fmt: skip
    with Store(tmp_path / "a.h5") as store:
        table = store.evidence("similarity", 4)
        assert table.neuron.tolist() == store.neurons(4).tolist()
        assert np.isfinite(table.score).any()
    faultless(tmp_path / "a.h5")
    neuron = pages[0]["neuron"]
    shown = neurolocal("show", "a.h5", pages[0]["layer"], neuron, cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert f"{max(pages[0]['texts'][0]['values']):.2f}"[:4] in shown.stdout
    report = neurolocal("report", "a.h5", "--json", cwd=tmp_path)
    assert report.returncode == 0, report.stderr
    assert {(n["layer"], n["neuron"]) for n in json.loads(report.stdout)["neurons"]} == {
        (p["layer"], p["neuron"]) for p in pages
    }
    again = neurolocal("neuroscope", "import", "pages", "--out", "b.h5", "--json", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["pages"] == len(pages)


def test_only_an_import_is_replaced(tmp_path, rng):
    write(tmp_path / "pages", corpus(rng, 15, words=HOSTILE))
    shutil.copy(next((tmp_path / "pages" / "1").iterdir()), tmp_path / "x.html")
    before = (tmp_path / "x.html").read_bytes()
    with pytest.raises(StoreError, match="the file exists and is no import"):
        import_any([tmp_path / "x.html"], tmp_path / "x.html", say=silent, bar=False)
    assert (tmp_path / "x.html").read_bytes() == before
    for _ in range(2):
        import_any([tmp_path / "x.html"], tmp_path / "a.h5", say=silent, bar=False)
