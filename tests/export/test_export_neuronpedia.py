"""Neuronpedia's lines: the columns of its schema, with their types; values of the store; what its database refuses."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neurolocal.errors import ConfigError, StoreError
from neurolocal.export import neuronpedia
from neurolocal.export.neuronpedia import export_neuronpedia
from neurolocal.export.neuronpedia_lines import _histogram

# Columns of its schema (`schema.prisma`, August 2026): those used here, and those that a line must have, with types.
# `!`: not null and without a default in the database, so every line needs it.
NEURON = {
    "modelId": "String!", "layer": "String!", "index": "String!", "sourceSetName": "String", "creatorId": "String",
    "maxActApprox": "Float", "frac_nonzero": "Float", "pos_str": "String[]", "pos_values": "Float[]",
    "neg_str": "String[]", "neg_values": "Float[]", "freq_hist_data_bar_heights": "Float[]",
    "freq_hist_data_bar_values": "Float[]",
}  # fmt: skip
ACTIVATION = {
    "id": "String!", "tokens": "String[]", "dataIndex": "String", "index": "String!", "layer": "String!",
    "modelId": "String!", "dataSource": "String", "maxValue": "Float!", "maxValueTokenIndex": "Int!",
    "minValue": "Float!", "values": "Float[]", "creatorId": "String!", "qualifyingTokenIndex": "Int",
}  # fmt: skip
EXPLANATION = {
    "id": "String!", "modelId": "String!", "layer": "String!", "index": "String!", "description": "String!",
    "authorId": "String!", "notes": "String",
}  # fmt: skip
MODEL = {
    "id": "String!", "displayNameShort": "String", "displayName": "String", "creatorId": "String!",
    "visibility": "Visibility", "instruct": "Boolean", "layers": "Int!", "neuronsPerLayer": "Int!", "owner": "String!",
}  # fmt: skip
SOURCE_SET = {
    "modelId": "String!", "name": "String!", "visibility": "Visibility", "description": "String!",
    "creatorName": "String!", "creatorId": "String!",
}  # fmt: skip
SOURCE = {
    "id": "String!", "modelId": "String!", "visibility": "Visibility", "setName": "String!", "creatorId": "String!",
    "num_prompts": "Int", "num_tokens_in_prompt": "Int", "dataset": "String", "notes": "String",
}  # fmt: skip
TYPES = {"String": str, "Float": (int, float), "Int": int, "Boolean": bool}


def lines(path: Path) -> list[dict[str, Any]]:
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [json.loads(line, parse_constant=pytest.fail) for line in raw.decode().splitlines()]


def fits(value: Any, kind: str) -> bool:
    if value is None:
        return not kind.endswith("!") and not kind.endswith("[]")
    if kind.endswith("[]"):
        return isinstance(value, list) and all(fits(item, kind[:-2] + "!") for item in value)
    kind = kind.rstrip("!")
    return value in ("PUBLIC", "UNLISTED", "PRIVATE") if kind == "Visibility" else isinstance(value, TYPES[kind])


def require(found: list[dict[str, Any]], columns: dict[str, str]) -> None:
    assert found
    for line in found:
        assert list(line) == list(found[0])  # its importer takes the columns of the first line
        assert set(line) <= set(columns)
        assert {name for name, kind in columns.items() if kind.endswith("!")} <= set(line)
        for name, value in line.items():
            assert fits(value, columns[name]), (name, value)


@pytest.fixture(params=[False, True], ids=["plain", "hostile"])
def exported(request, small_store, tmp_path):
    store = small_store(hostile=request.param)
    assert export_neuronpedia(store, tmp_path, model="my-model", bar=False) == 24
    return store, tmp_path / "my-model"


def test_every_line_fits_the_schema(exported):
    _, folder = exported
    assert sorted(path.name for path in folder.iterdir()) == ["2", "5"]
    for source in folder.iterdir():
        for name, columns in (("model", MODEL), ("sourceset", SOURCE_SET), ("source", SOURCE)):
            require(lines(source / f"{name}.jsonl"), columns)
        for name, columns in (("features", NEURON), ("activations", ACTIVATION), ("explanations", EXPLANATION)):
            require(lines(source / name / "batch-0.jsonl.gz"), columns)


def test_lines_refer_to_each_other(exported):
    """The database's foreign keys: model <- source set <- source <- neuron <- activation, explanation."""
    _, folder = exported
    ids = []
    for source in folder.iterdir():
        (model,), (own,), (of_set,) = (lines(source / f"{n}.jsonl") for n in ("model", "source", "sourceset"))
        assert (model["id"], own["modelId"], of_set["modelId"]) == ("my-model",) * 3
        assert (own["id"], own["setName"], of_set["name"]) == (source.name, "neurons", "neurons")
        neurons = lines(source / "features" / "batch-0.jsonl.gz")
        known = {(line["modelId"], line["layer"], line["index"]) for line in neurons}
        assert len(known) == len(neurons) == 12
        for name in ("activations", "explanations"):
            for line in lines(source / name / "batch-0.jsonl.gz"):
                assert (line["modelId"], line["layer"], line["index"]) in known
                ids.append(line["id"])
    assert len(set(ids)) == len(ids)


def test_the_values_are_the_stores(exported):
    store, folder = exported
    for layer in (2, 5):
        s, effects, vocabulary = store.statistics(layer), store.logit_effects(layer), store.vocabulary
        source = folder / str(layer)
        for i, line in enumerate(lines(source / "features" / "batch-0.jsonl.gz")):
            assert line["maxActApprox"] == pytest.approx(float(s.maximum[i]))
            assert line["frac_nonzero"] == int(s.positive[i]) / (s.count - int(s.nonfinite[i]))
            assert line["pos_str"] == vocabulary.str_tokens(effects.promoted[i])
            assert np.array_equal(np.float32(line["neg_values"]), effects.suppressed_effect[i])
        activations = lines(source / "activations" / "batch-0.jsonl.gz")
        examples = [e for neuron in range(12) for e in store.examples(layer, neuron)]
        assert len(activations) == len(examples) == 48
        for line, e in zip(activations, examples, strict=True):
            assert line["tokens"] == [t.replace("\0", "\ufffd") for t in vocabulary.str_tokens(e.tokens)]
            assert np.array_equal(np.float32(line["values"]), e.activations)
            assert (line["dataIndex"], line["qualifyingTokenIndex"]) == (str(e.row), e.peak)
            assert line["maxValue"] == max(line["values"]) == line["values"][line["maxValueTokenIndex"]]
            assert line["minValue"] == min(line["values"])
        summary = store.evidence("summary", layer)
        wanted = {n: d for n, d in zip(summary.neuron.tolist(), summary.description, strict=True) if d}
        found = {int(e["index"]): e["description"] for e in lines(source / "explanations" / "batch-0.jsonl.gz")}
        assert found == {n: d.replace("\0", "\ufffd") for n, d in wanted.items()}


def test_no_line_holds_what_postgresql_refuses(exported):
    """jsonb accepts neither NUL nor a lone surrogate."""
    for path in exported[1].rglob("*.jsonl*"):
        for line in lines(path):
            text = json.dumps(line, ensure_ascii=False)
            assert "\\u0000" not in text
            text.encode()


def test_the_histogram_counts_the_sample(full_store, tmp_path):
    export_neuronpedia(full_store, tmp_path, layers=[2], bar=False)
    found = lines(tmp_path / "model" / "2" / "features" / "batch-0.jsonl.gz")
    for line, values in zip(found, full_store.sampled(2), strict=True):
        finite = values[np.isfinite(values)]
        assert sum(line["freq_hist_data_bar_heights"]) == len(finite) > 0
        middles = line["freq_hist_data_bar_values"]
        half = (middles[1] - middles[0]) / 2
        assert middles[0] - half == pytest.approx(float(finite.min()), abs=1e-6)
        assert middles[-1] + half == pytest.approx(float(finite.max()), abs=1e-6)


def test_what_is_not_finite_is_left_out_or_zero(full_store, tmp_path, monkeypatch):
    effects, lists = full_store.logit_effects(2), type(full_store).example_lists
    effects.promoted_effect[0, 1], effects.suppressed_effect[0] = np.nan, np.inf
    monkeypatch.setattr(type(full_store), "logit_effects", lambda *_: effects)

    def with_nan(*arguments):
        found = lists(*arguments)
        found[0][0].activations[:2] = np.nan, np.inf
        return found

    monkeypatch.setattr(type(full_store), "example_lists", with_nan)
    export_neuronpedia(full_store, tmp_path, layers=[2], bar=False)
    folder = tmp_path / "model" / "2"
    line = lines(folder / "features" / "batch-0.jsonl.gz")[0]
    kept = [text for i, text in enumerate(full_store.vocabulary.str_tokens(effects.promoted[0])) if i != 1]
    assert (line["pos_str"], len(line["pos_values"])) == (kept, len(kept))
    assert (line["neg_str"], line["neg_values"]) == ([], [])
    line = lines(folder / "activations" / "batch-0.jsonl.gz")[0]
    assert line["values"][:2] == [0, 0]
    assert line["maxValue"] == max(line["values"]) == line["values"][line["maxValueTokenIndex"]]


@pytest.mark.parametrize("values", [[3e38] * 9, [3e38, 2.9999999e38], [1e-45, 0], [-3e38, 3e38], [5.0], [0.0] * 3])
def test_a_histogram_of_values_that_no_bins_fit_between(values):
    heights, middles = _histogram(np.array(values, np.float32))
    assert sum(heights) == np.isfinite(values).sum()
    assert np.isfinite(middles).all()
    assert middles == sorted(set(middles))


def test_a_manifest_nested_deep_is_something_else(full_store, tmp_path):
    (tmp_path / "manifest.json").write_text('{"a":' * 100_000)
    with pytest.raises(StoreError, match=r"manifest\.json of something else"):
        export_neuronpedia(full_store, tmp_path, bar=False)


def test_scores_are_noted_beside_those_of_another_description(full_store, tmp_path):
    export_neuronpedia(full_store, tmp_path, bar=False)
    (line,) = lines(tmp_path / "model" / "2" / "explanations" / "batch-0.jsonl.gz")
    assert (line["index"], line["description"]) == ("1", "days")
    control = full_store.evidence("score", 2).control[0]
    assert math.isnan(control)
    assert line["notes"] == "neurolocal, source: llm; detection_auprc 0.50"


def test_batches_and_what_an_earlier_export_left(small_store, tmp_path, monkeypatch):
    monkeypatch.setattr(neuronpedia, "BATCH", 5)
    export_neuronpedia(small_store(), tmp_path, layers=[2], bar=False)
    folder = tmp_path / "small-1m" / "2" / "features"
    assert [len(lines(folder / f"batch-{i}.jsonl.gz")) for i in range(3)] == [5, 5, 2]
    first = (folder / "batch-0.jsonl.gz").read_bytes()
    export_neuronpedia(small_store(), tmp_path, layers=[2], bar=False)
    assert (folder / "batch-0.jsonl.gz").read_bytes() == first
    (folder / "batch-0 (1).jsonl.gz").write_bytes(first)
    monkeypatch.setattr(neuronpedia, "BATCH", 12)
    export_neuronpedia(small_store(), tmp_path, layers=[2], bar=False)
    assert {path.name for path in folder.iterdir()} == {"batch-0.jsonl.gz", "batch-0 (1).jsonl.gz"}


def test_another_site_has_a_set_of_its_own(small_store, tmp_path, monkeypatch):
    store = small_store()
    monkeypatch.setattr(neuronpedia.Source, "__init__", site_of(neuronpedia.Source.__init__, "pre_linear"))
    export_neuronpedia(store, tmp_path, layers=[2], bar=False)
    (source,) = lines(tmp_path / "small-1m" / "2-neurons-pre-linear" / "source.jsonl")
    assert (source["id"], source["setName"]) == ("2-neurons-pre-linear", "neurons-pre-linear")


def site_of(init: Any, site: str) -> Any:
    def made(self: Any, model: str, layer: int, _: str, *more: Any) -> None:
        init(self, model, layer, site, *more)

    return made


@pytest.mark.parametrize("model", ["", "My Model", "a/b", "a" * 129, "../x", "é"])
def test_a_model_id_that_neuronpedia_refuses(model, small_store, tmp_path):
    with pytest.raises(ConfigError, match=r"is no id of Neuronpedia; expected .* Give another --model"):
        export_neuronpedia(small_store(), tmp_path / "out", model=model, bar=False)
    assert not (tmp_path / "out").exists()


def test_a_hostile_subject_name_stays_inside_the_folder(small_store, tmp_path):
    export_neuronpedia(small_store(hostile=True), tmp_path / "out", layers=[2], bar=False)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "manifest.json",
        "script-img-src-x-onerror-alert-1-evil",
    }
