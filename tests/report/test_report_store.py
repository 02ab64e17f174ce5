"""The report on a real store: stories260k on random tokens, collected by plain numpy, written and read by `Store`."""

import io
import json
from collections import Counter

import numpy as np
import pytest
from tables import filled

from neurolocal.config import CollectConfig, VerdictConfig, canonical
from neurolocal.provenance import Parts
from neurolocal.records import (
    BINS,
    HISTOGRAM_EVERY,
    SIDES,
    THRESHOLDS,
    LayerRecord,
    Sample,
    SimilarityTable,
    Statistics,
    TopK,
)
from neurolocal.report import page, print_table, report_json, report_rows, show
from neurolocal.report.page import EXCERPTS
from neurolocal.store import Store, check
from neurolocal.verdict.table import verdict_table
from neurolocal.words import Vocabulary
from neurolocal.words.peaks import peak_words

LAYER, ROWS, LENGTH, K = 3, 24, 48, 6


@pytest.fixture(scope="module")
def collected(fixtures):
    """Rows of tokens, the activations of one layer, and the vocabulary."""
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = fixtures / "stories260k"
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder).eval()
    rng, held = np.random.default_rng(0), []
    tokens = torch.from_numpy(rng.integers(3, len(tokenizer), (ROWS, LENGTH)))
    tokens[:, 0] = tokenizer.bos_token_id
    with torch.no_grad():
        hook = model.model.layers[LAYER].mlp.down_proj.register_forward_pre_hook(lambda _, given: held.append(given[0]))
        model(tokens)
        hook.remove()
    pieces = []
    for i in range(len(tokenizer)):
        said = tokenizer.convert_ids_to_tokens(i)
        pieces.append(bytes([int(said[3:5], 16)]) if said.startswith("<0x") else said.replace("▁", " ").encode())
    special = np.arange(len(pieces)) < 3
    return tokens.numpy().astype(np.uint16), held[0].numpy().astype(np.float32), Vocabulary(pieces, special)


def lists(activations, sign):
    """The top-k in plain numpy: the strongest position of each row, rows by strength, ties by row."""
    n_rows, length, n = activations.shape
    before, after = CollectConfig().before, CollectConfig().after
    made = TopK(
        np.full((n, K), np.nan, np.float32),
        np.full((n, K), -1, np.int64),
        np.full((n, K), -1, np.int32),
        np.full((n, K, before + 1 + after), np.nan, np.float32),
    )
    for neuron in range(n):
        here = activations[:, 1:, neuron] * sign
        best = sorted(range(n_rows), key=lambda r: (-here[r].max(), r))[:K]
        for rank, row in enumerate(best):
            at = int(here[row].argmax()) + 1
            made.activation[neuron, rank] = activations[row, at, neuron]
            made.row[neuron, rank], made.position[neuron, rank] = row, at
            for j in range(-before, after + 1):
                if 0 <= at + j < length:
                    made.window[neuron, rank, before + j] = activations[row, at + j, neuron]
    return made


@pytest.fixture(scope="module")
def store(collected, tmp_path_factory):
    from neurolocal.store import StoreContent, StoredRows, add_evidence, write_collected

    tokens, activations, vocabulary = collected
    counted = activations[:, 1:].reshape(-1, activations.shape[-1])
    n = counted.shape[1]
    statistics = Statistics(
        count=len(counted),
        whole=np.zeros((4, n), np.int64),
        fraction=np.zeros((4, n), np.int64),
        minimum=counted.min(0),
        maximum=counted.max(0),
        positive=(counted > 0).sum(0),
        above=np.stack([(counted > level).sum(0) for level in THRESHOLDS]),
        nonfinite=np.zeros(n, np.int64),
        sampled=0,
        histogram=np.zeros((n, BINS), np.int64),
    )
    manifest = {
        "subject": {"name": "stories260k", "sha256": "ab" * 32, "n_layers": 5, "d_mlp": [n]},
        "tokenizer": {"sha256": "cd" * 32},
        "corpus": {"path": "random tokens", "rows_sha256": "ef" * 32},
        "config": json.loads(canonical(CollectConfig(k=K, layers=(LAYER,), sites=("post",)))),
        "rows": ROWS,
        "tokens": int(tokens.size),
        "complete": True,
        "statistics": {"thresholds": list(THRESHOLDS), "histogram_every": HISTOGRAM_EVERY, "bins": BINS},
    }
    path = tmp_path_factory.mktemp("report") / "stories.h5"
    sides = dict(zip(SIDES, (lists(activations, 1), lists(activations, -1)), strict=True))
    parts = Parts.of(range(1, ROWS + 1), [(0, 0, i, 0, "stories") for i in range(ROWS)])
    held_rows = StoredRows(tokens, np.full(ROWS, LENGTH), np.arange(ROWS, dtype=np.int64), parts.columns())
    write_collected(
        path,
        StoreContent(
            manifest,
            layers=[(("post", LAYER), LayerRecord(sides, statistics, np.empty((n, 0), np.float32)))],
            sample=Sample(np.empty(0, np.int64), np.empty(0, np.int32)),
            rows=lambda: held_rows,
            token_count=np.bincount(tokens.ravel(), minlength=len(vocabulary.tokens)),
            vocabulary=vocabulary,
        ),
    )
    rng = np.random.default_rng(0)
    columns = [rng.random(n).astype(np.float32) for _ in range(5)]
    many = np.full(n, 6)
    names = ("score", "repetition", "null_mean", "null_sd")
    similarity = filled(
        SimilarityTable, range(n), n_words=many, n_known=many, z=columns[4] * 9, p=rng.random(n), q=rng.random(n),
        **dict(zip(names, columns, strict=False)),
    )  # fmt: skip
    with Store(path) as held:
        peaks = [Counter(peak_words(examples, held.vocabulary)) for examples in held.example_lists(LAYER)]
    decided = verdict_table(statistics, similarity, None, peaks=peaks, config=VerdictConfig())
    made = [("similarity", LAYER, "largest", similarity, {}), ("verdict", LAYER, "largest", decided, {"seed": 0})]
    add_evidence(path, made, site="post")
    with Store(path) as held:
        yield held


@pytest.mark.parametrize("settings", [{}, {"hostile": True, "neurons": 24, "k": 6}, {"neurons": 0}, {"stages": ()}])
def test_the_small_store_of_the_other_tests_has_no_fault(small_store, settings):
    assert check(small_store(**settings).path).faults == ()


def test_report_of_a_real_store(store, collected):
    tokens, activations, vocabulary = collected
    rows = report_rows(store)
    assert sorted(r.neuron for r in rows) == list(range(172))
    assert [r.rank for r in rows] == list(range(1, 173))
    for row in rows[::17]:
        strongest = activations[:, 1:, row.neuron].max(1)
        order = sorted(range(ROWS), key=lambda r: (-strongest[r], r))[:K]
        peaks = [int(activations[r, 1:, row.neuron].argmax()) + 1 for r in order]
        assert row.tokens == vocabulary.str_tokens([int(tokens[r, p]) for r, p in zip(order, peaks, strict=True)])
        assert row.activation == strongest.max()
        assert sum(row.words.values()) == K
    made = json.loads(report_json(store, rows))
    assert made["subject"]["name"] == "stories260k"
    assert made["stages"]["verdict"] == {str(LAYER): {"seed": 0}}


def test_views_of_a_real_store(store):
    out = io.StringIO()
    print_table(report_rows(store), out=out, width=100, limit=10)
    assert "162 more are not shown" in out.getvalue()
    for side in SIDES:
        out = io.StringIO()
        show(store, LAYER, 7, out=out, side=side, width=100)
        assert out.getvalue().count("[[") == K
    text = page(store, cards=5)
    assert text.count("<article") == 5
    excerpts = [min(row.repeats.count(None), EXCERPTS) for row in report_rows(store)[5:]]
    assert text.count("<mark") == 5 * K + sum(excerpts)
