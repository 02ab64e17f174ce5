"""Random texts: the subject's activations over windows around the store's sampled positions."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from neurolocal.errors import StoreError
from neurolocal.export import random_texts
from neurolocal.export.neuron_records import export_neuron_records
from neurolocal.export.random_texts import draw_texts, text_activations
from neurolocal.store import Store
from neurolocal.subject import load_subject


@pytest.fixture
def store(collected):
    with Store(collected) as store:
        yield store


@pytest.fixture(scope="module")
def subject(fixtures):
    return load_subject(str(fixtures / "stories260k"))


def test_texts_are_windows_around_sampled_positions_one_a_row(store):
    texts = draw_texts(store, 9)
    assert len(texts) == len({text.row for text in texts}) == 9
    assert texts == draw_texts(store, 20)[:9]
    for text in texts:
        assert (text.row, text.position) == (store.sample.row[text.entry], store.sample.position[text.entry])
        assert text.start == max(text.position - 9, 0)
        assert text.stop == min(text.position + 5, len(store.row(text.row)))
    assert len(draw_texts(store, 10**6)) == len(np.unique(store.sample.row))


@pytest.mark.parametrize("memory", [1, 1 << 28])
def test_activations_equal_a_pass_of_one_row(store, subject, monkeypatch, memory):
    """Also where each layer has passes of its own."""
    monkeypatch.setattr(random_texts, "MEMORY", memory)
    texts, seen = draw_texts(store, 11), []
    for layer, found in text_activations(store, subject, [1, 3], texts):
        seen.append(layer)
        for text, values in zip(texts, found, strict=True):
            kept = {}
            tokens = torch.from_numpy(store.row(text.row).astype(np.int64))[None]
            subject.read(tokens, {layer: lambda x, kept=kept: kept.update(x=x[0].float().numpy())})
            wanted = kept["x"][text.start : text.stop]
            assert values.shape == wanted.shape
            assert np.abs(values - wanted).max() <= 1e-5 * np.abs(wanted).max()
    assert seen == [1, 3]


def test_records_have_them_and_a_bos_is_zero(store, subject, tmp_path):
    export_neuron_records(store, tmp_path, subject=lambda: subject, texts=20, bar=False)
    texts = draw_texts(store, 20)
    assert any(text.start == 0 for text in texts)
    for layer in (1, 3):
        sampled = store.sampled(layer)
        for neuron in (0, 7):
            record = json.loads((tmp_path / "neurons" / str(layer) / f"{neuron}.json").read_bytes())
            assert len(record["random_sample"]) == len(texts)
            for made, text in zip(record["random_sample"], texts, strict=True):
                assert made["tokens"] == store.vocabulary.str_tokens(store.row(text.row)[text.start : text.stop])
                assert len(made["activations"]) == len(made["tokens"])
                at_peak = made["activations"][text.position - text.start]
                assert at_peak == pytest.approx(float(sampled[neuron, text.entry]), abs=1e-4)
                if text.start == 0:
                    assert made["activations"][0] == 0


def test_another_subject_is_noticed(store, subject, tmp_path, monkeypatch):
    sampled = type(store).sampled
    monkeypatch.setattr(type(store), "sampled", lambda self, layer: sampled(self, layer) + np.float32(0.5))
    with pytest.raises(StoreError, match=r"layer 1 neuron 0 at position .* in the store and .* on the subject"):
        export_neuron_records(store, tmp_path, subject=lambda: subject, bar=False)
    assert not (tmp_path / "manifest.json").exists()
