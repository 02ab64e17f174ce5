"""Random rows: those that score, and those without an example of the neuron."""

from __future__ import annotations

import numpy as np
import torch
from little_memory import rows_at_most
from small_run import write_corpus

from neurolocal.config import CollectConfig, ScoreConfig
from neurolocal.pipeline.collect import Collection, collect_store
from neurolocal.records import Example, Sample
from neurolocal.score.random_rows import RandomRows, read_random_rows, scoring_rows
from neurolocal.store import Store
from neurolocal.subject import load_subject


def test_rows_explain_or_score_never_both() -> None:
    rng = np.random.default_rng(0)
    row = np.sort(rng.integers(0, 50, 200))
    sample = Sample(row.astype(np.int64), np.arange(200, dtype=np.int32))
    explain = set(row[sample.explaining].tolist())
    score = set(scoring_rows(sample, 10_000, seed=0).tolist())
    assert explain | score == set(row.tolist())
    assert not explain & score
    assert len(score) == len(explain | score) // 4
    few = scoring_rows(sample, 7, seed=0)
    assert len(few) == 7
    assert set(few.tolist()) <= score
    assert few.tolist() == sorted(few.tolist())


def test_random_rows_with_an_example_are_left_out() -> None:
    tokens = [np.arange(1, 5)] * 3
    values = {9: [np.zeros(4, np.float32)] * 3}
    rows = RandomRows(np.array([7, 8, 9]), tokens, values)
    own = [Example(0, 8, 2, 5.0, 0, np.arange(1, 9), np.zeros(8, np.float32))]
    assert [row for row, _, _ in rows.of(9, own)] == [7, 9]


def test_the_rows_hold_what_the_subject_computes_also_where_memory_runs_out(fixtures, tmp_path, monkeypatch) -> None:
    subject = load_subject(fixtures / "stories260k")
    config = CollectConfig(row_length=32, k=4, layers=(1, 3), sample=90, logits=0)
    store, wanted = tmp_path / "s.h5", {1: [5, 2], 3: [7], 2: []}
    collect_store(
        Collection(subject, write_corpus(tmp_path / "c.jsonl"), store, config), say=lambda line: None, bar=False
    )
    said: list[str] = []
    sizes = rows_at_most(monkeypatch, 3)
    with Store(store) as opened:
        found = read_random_rows(
            opened, lambda: subject, wanted, config=ScoreConfig(rows=20), bar=False, say=said.append
        )
        monkeypatch.undo()
        assert len(found[1].index) > 8, "too few rows for a batch"
        assert sizes[:3] == [8, 4, 2]
        assert len(said) == 2
        assert found[2].activations == {}
        for layer in (1, 3):
            for i, row in enumerate(found[layer].index.tolist()):
                tokens = torch.from_numpy(opened.row(row).astype(np.int64))[None]
                true = subject.activations(tokens, layer)[0].numpy()
                for neuron in wanted[layer]:
                    values = found[layer].activations[neuron][i]
                    counted = ~np.isnan(values)
                    assert counted.sum() >= 30
                    assert np.allclose(values[counted], true[counted, neuron], atol=1e-5)
