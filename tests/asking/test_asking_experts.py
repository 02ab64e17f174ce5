"""A subject with experts: a neuron has no activation where a token is not routed to its expert."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from asked_run import collect_small
from experts_twins import plain_layers, sparse_folder

from neurolocal.asking import Asking, answer_object
from neurolocal.asking.terminal import print_answer
from neurolocal.store import Store
from neurolocal.subject import load_subject

TEXT = "Lily gave 3 red balls to a frog, and why?"


@pytest.fixture(scope="module")
def mixture(fixtures: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = sparse_folder("Mixtral", tmp_path_factory.mktemp("mixture"), tokenizer_from=fixtures / "stories260k")
    return load_subject(folder, device="cpu")


def test_what_is_not_routed_is_no_activation_and_no_peak(mixture) -> None:
    answer = Asking(mixture).neurons(TEXT, [(1, 0), (1, 60)])
    layers, _ = plain_layers(mixture.model, torch.tensor([[token.id for token in answer.tokens]]))
    for one in answer.neurons:
        true = layers[1].post[0, :, one.neuron]
        assert np.isnan(true).any()
        np.testing.assert_allclose(one.activations, true, atol=1e-5)
        assert one.peak is None or one.peak == 1 + int(np.nanargmax(true[1:]))
    assert [one.name for one in answer.neurons] == ["expert 0 · neuron 0", "expert 1 · neuron 12"]
    said = json.dumps(answer_object(answer), allow_nan=False)
    assert "null" in said


def test_the_most_excited_are_found_among_what_is_routed(mixture, tmp_path) -> None:
    with Store(collect_small(tmp_path, mixture)) as store:
        asking, out = Asking(mixture, store), io.StringIO()
        answer = asking.strongest(TEXT, n=5)
        every = [(layer, n) for layer in store.layers for n in range(mixture.d_mlp[layer])]
        shares = [one.peak_share for one in asking.neurons(TEXT, every).neurons]
        assert [one.peak_share for one in answer.neurons] == sorted(x for x in shares if x == x)[::-1][:5]
        for one in answer.neurons:
            np.testing.assert_array_equal(np.isnan(one.quantiles), np.isnan(one.activations))
        print_answer(answer, mixture.vocabulary, out=out, width=80)
        assert "nan" not in out.getvalue().lower()
        assert "(expert " in out.getvalue()
