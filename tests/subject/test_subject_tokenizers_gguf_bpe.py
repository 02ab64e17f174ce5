"""BPE in GGUF files: each pre-tokenizer that llama.cpp knows by name, with llama.cpp as the judge."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from gguf_twins import CONTROL_TEXTS, byte_bpe, differences, hostile, llama_cpp, text_bpe, write_gguf

from neurolocal.errors import SubjectError
from neurolocal.subject.tokenizers.gguf_judge import folder_encoder
from neurolocal.subject.tokenizers.gguf_pre import GROUPS, PRE_TOKENIZERS
from neurolocal.subject.tokenizers.gguf_write import write_gguf_tokenizer

NAMES = [
    "a.x-4.0", "afmoe", "bailingmoe", "bailingmoe2", "bloom", "chameleon", "chatglm-bpe", "codeshell", "cohere2moe",
    "command-r", "dbrx", "deepseek-coder", "deepseek-llm", "deepseek-r1-qwen", "deepseek-v3", "default", "exaone",
    "exaone-moe", "exaone4", "f2llmv2", "falcon", "falcon-h1", "falcon3", "gemma4", "gigachat", "glm4", "glm5",
    "gpt-2", "gpt-4o", "gpt3-finnish", "granite-docling", "granite-embed-multi-311m", "granite-embed-multi-97m",
    "grok-2", "hunyuan", "hunyuan-dense", "hy_v4", "jais", "jais-2", "jina-de", "jina-es", "jina-v1-en",
    "jina-v2-code", "jina-v2-de", "jina-v2-es", "jina-v5-nano", "joyai-llm", "kanana2", "kimi-k2", "kormo",
    "laguna", "lfm2", "llada-moe", "llama-bpe", "llama-v3", "llama3", "llama4", "megrez", "mellum", "mellum2",
    "midm-2.0", "minerva-7b", "minicpm5", "minimax-m2", "modern-bert", "mpt", "olmo", "phi-2", "pixtral",
    "poro-chat", "qwen2", "qwen35", "refact", "roberta-bpe", "sarvam-moe", "seed-coder", "smaug-bpe", "smollm",
    "solar-open", "spark2_5", "stablelm2", "starcoder", "superbpe", "talkie", "tekken", "tiny_aya", "trillion",
    "ufakzeka", "viking", "whitespace", "youtu",
]  # fmt: skip
"""Every name that llama.cpp compares `tokenizer.ggml.pre` with, read from its source as of `AS_OF`."""

BYTE_LEVEL = [name for name in NAMES if PRE_TOKENIZERS[name].byte_level]

SPECIAL = ([3, 3, 3, 3, 2, 3, 4, 4], list(CONTROL_TEXTS))
"""Types and texts of the special tokens: the last two are a user's."""


@pytest.fixture(scope="module")
def vocabulary() -> tuple[list[str], list[str]]:
    rng = np.random.default_rng(1)
    return byte_bpe(rng)


@pytest.fixture
def write(vocabulary, tmp_path):
    """A file of the trained vocabulary; only the name of its pre-tokenizer varies."""

    def made(pre: str | None, *, special: bool = True, **more) -> Path:
        tokens, merges = vocabulary
        types, texts = SPECIAL if special else ([], [])
        assert not set(texts) & set(tokens)
        how = {"tokens": tokens + texts, "types": [1] * len(tokens) + types, "merges": merges} | more
        return write_gguf(tmp_path / "made.gguf", "gpt2", pre=pre, **how)

    return made


def test_the_table_has_the_names_of_llama_cpp() -> None:
    assert sorted(PRE_TOKENIZERS) == sorted(NAMES)
    assert sum(map(len, GROUPS.values())) == len(NAMES), "a name stands in two groups"


@pytest.mark.parametrize("name", BYTE_LEVEL)
def test_ids_are_those_of_llama_cpp(name: str, write, tmp_path, rng) -> None:
    path = write(name)
    assert differences(path, tmp_path / "t", hostile(rng, 60, more=CONTROL_TEXTS)[:60]) == []


def test_the_texts_tell_the_patterns_apart(write, tmp_path) -> None:
    """So the test above would fail for a wrong pattern: no two give the same ids for all texts, but for equal ones."""
    texts = hostile(np.random.default_rng(2), 300)
    found: dict[str, str] = {}
    for how, names in GROUPS.items():
        if how.byte_level:
            write_gguf_tokenizer(write(names[0], special=False), tmp_path)
            found[names[0]] = json.dumps(folder_encoder(tmp_path)(texts, "token"))
    # An optional run of line breaks more changes nothing after \s*; without ignore_merges only reachability differs.
    found.pop("bailingmoe")
    found.pop("dbrx")
    assert len(set(found.values())) == len(found)


def test_a_file_without_a_name_is_split_as_llama_cpp_splits_it(write, tmp_path, rng) -> None:
    assert differences(write(None), tmp_path / "t", hostile(rng, 60)) == []


def test_smollm_is_not_split_as_gpt2(write, tmp_path) -> None:
    """The demo's model: its digits are tokens each. What transformers makes of the file does not do so."""
    for pre, split in (("smollm", True), ("gpt-2", False)):
        write_gguf_tokenizer(write(pre), tmp_path)
        tokens = json.loads((tmp_path / "tokenizer.json").read_text())["model"]["vocab"]
        (ids,) = folder_encoder(tmp_path)(["1234567890"], "token")
        assert (ids == [tokens[digit] for digit in "1234567890"]) is split


@pytest.mark.parametrize("name", ["gemma4", "granite-embed-multi-311m", "sarvam-moe"])
@pytest.mark.parametrize("seed", [1, 2])
def test_bpe_over_characters(name: str, seed: int, tmp_path, rng) -> None:
    tokens, types, merges = text_bpe(np.random.default_rng(seed), escape=True)
    path = write_gguf(tmp_path / "made.gguf", "gpt2", tokens, pre=name, types=types, merges=merges)
    lines = ["\n" * n for n in range(1, 12)] + ["a" + "\n" * n + "b" for n in range(1, 12)]
    assert differences(path, tmp_path / "t", [*hostile(rng, 60), *lines]) == []


@pytest.mark.parametrize(("model", "pre"), [("gemma4", None), ("gemma4", "llama-bpe"), ("whitespace", "whitespace")])
def test_kinds_of_their_own(model: str, pre: str | None, tmp_path, rng) -> None:
    tokens, types, merges = text_bpe(rng, escape=model == "gemma4")
    path = write_gguf(tmp_path / "made.gguf", model, tokens, pre=pre, types=types, merges=merges)
    assert differences(path, tmp_path / "t", hostile(rng, 60)) == []


@pytest.mark.parametrize("lower", [True, False])
def test_a_whitespace_vocabulary_may_be_in_lower_case(lower: bool, tmp_path, rng) -> None:
    tokens, types, merges = text_bpe(rng, escape=False)
    path = write_gguf(
        tmp_path / "made.gguf", "whitespace", tokens, pre="whitespace", types=types, merges=merges,
        more=lambda w: w.add_bool("tokenizer.ggml.normalizer.lowercase", lower),
    )  # fmt: skip
    texts = [text.replace("İ", "") for text in hostile(rng, 60)]
    assert differences(path, tmp_path / "t", texts) == []


def test_control_tokens_are_tokens_or_text(write, tmp_path) -> None:
    path = write("llama-bpe")
    write_gguf_tokenizer(path, tmp_path)
    encode = folder_encoder(tmp_path)
    n = len(json.loads((tmp_path / "tokenizer.json").read_text())["model"]["vocab"])
    first = n - len(CONTROL_TEXTS)
    (as_tokens,), (as_text,) = (encode(["".join(CONTROL_TEXTS)], control) for control in ("token", "text"))
    assert as_tokens == list(range(first, n))
    assert [i for i in as_text if i >= first] == [n - 2, n - 1], "a user's tokens are cut out always"
    with llama_cpp(path) as ids:
        assert ids("".join(CONTROL_TEXTS), "token") == as_tokens
        assert ids("".join(CONTROL_TEXTS), "text") == as_text


ENDS = ["<|eot_id|>", "</s>", "<|end|>", "<|fim_prefix|>", "<file>", "<｜end▁of▁sentence｜>", "<|file_sep|>", "<REPO>"]
HARMONY = ["<|call|>", "<|return|>", "<|end|>", "<|channel|>", "<|message|>", "<|start|>"]
GEMMA = ["</s>", "<|tool_response>", "<eos>", "<b>"]


@pytest.mark.parametrize("texts", [ENDS, HARMONY, GEMMA], ids=["ends", "harmony", "gemma"])
@pytest.mark.parametrize("kind", [1, 3, 4])
def test_types_are_corrected_as_llama_cpp_does(texts: list[str], kind: int, write, vocabulary, tmp_path) -> None:
    """Converters mark end tokens as ordinary ones; llama.cpp knows them by their texts."""
    tokens = vocabulary[0] + texts
    path = write("qwen2", tokens=tokens, types=[1] * len(vocabulary[0]) + [kind] * len(texts))
    assert differences(path, tmp_path / "t", ["".join(texts), *[f"a{text} b" for text in texts]]) == []


def test_the_white_space_behind_phi_3s_control_tokens(write, tmp_path) -> None:
    path = write("gpt-2", more=lambda w: w.add_name("Phi-3 mini"))
    texts = ["a<|im_end|> \n b", "<s>  c", "<|x|>\t d", " <unk> e"]
    assert differences(path, tmp_path / "t", texts) == []


def test_bytes_that_no_token_has(write, vocabulary, tmp_path, rng) -> None:
    """llama.cpp omits them, and does not merge across them."""
    tokens, merges = vocabulary
    lost = {"a", "Ġ", "ã", "Ċ"}
    kept = [token for token in tokens if not set(token) & lost]
    left = [one for one in merges if not set(one) & lost]
    path = write("qwen2", tokens=kept, types=[1] * len(kept), merges=left)
    across = [one.replace(" ", "a") for one in left if len(one) == 3 and one.isascii()]
    assert len(across) > 3
    assert differences(path, tmp_path / "t", [*across, *hostile(rng, 60)]) == []


def test_a_merge_stated_twice_has_the_first_rank(write, vocabulary, tmp_path, rng) -> None:
    merges = vocabulary[1]
    assert differences(write("gpt-2", merges=merges + merges[::-1]), tmp_path / "t", hostile(rng, 60)) == []


@pytest.mark.parametrize("pre", ["llama-bpf", "", "LLAMA-BPE", "x" * 500, "whitespace"])
def test_an_unknown_pre_tokenizer_is_refused_by_name(pre: str, write, tmp_path) -> None:
    if not pre:
        return write_gguf_tokenizer(write(pre), tmp_path)  # an empty name is none, for llama.cpp too
    with pytest.raises(
        SubjectError, match=r"Give the model's Hugging Face folder instead, or .* --tokenizer"
    ) as caught:
        write_gguf_tokenizer(write(pre), tmp_path)
    assert f'"{pre[:80]}" is not one of the {len(NAMES)} of' in str(caught.value)
    assert "\n" not in str(caught.value)
    return None


@pytest.mark.parametrize("merges", [None, [], ["nospace"], ["Ġ zzzqqq"], ["q \ufffd"], ["zz qq"]])
def test_merges_that_are_not_of_the_vocabulary(merges, write, tmp_path) -> None:
    with pytest.raises(SubjectError, match=r"merges"):
        write_gguf_tokenizer(write("gpt-2", merges=merges), tmp_path)
