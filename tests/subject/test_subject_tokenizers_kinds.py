"""Every kind of tokenizer against its own library: ids and texts, on hostile text."""

from __future__ import annotations

import json
from functools import cache
from itertools import product

import numpy as np
import pytest
from sentencepiece import SentencePieceProcessor
from tokenizer_twins import CLASSES, JSON_KINDS, byte_level, hostile, sentencepiece_model, write_json
from tokenizers import Tokenizer as Library

from neurolocal.errors import SubjectError
from neurolocal.subject.tokenizers import Tokenizer, find_tokenizer
from neurolocal.subject.tokenizers.roles import Roles
from neurolocal.subject.tokenizers.tokenizer_json import JsonBackend

trained = cache(lambda kind: JSON_KINDS[kind]())


@pytest.mark.parametrize("kind", JSON_KINDS)
def test_a_tokenizer_json_gives_its_librarys_ids_whatever_class_is_named(kind, tmp_path, rng) -> None:
    texts = hostile(rng, 200)
    judge = Library.from_str(trained(kind).to_str())
    true = [one.ids for one in judge.encode_batch(texts, add_special_tokens=False)]
    for i, named in enumerate(CLASSES):
        folder = write_json(tmp_path / str(i), trained(kind), tokenizer_class=named, add_prefix_space=bool(i % 2))
        (folder / "config.json").write_text(json.dumps({"model_type": ["llama", "gpt2", "qwen2"][i % 3]}))
        found = find_tokenizer(folder, d_vocab=500)
        assert found.encode(texts) == true, named
        vocabulary = found.vocabulary(500)
        for (ids, starts), text in zip(found.encode_documents(vocabulary, texts), texts, strict=True):
            said, decoded = vocabulary.text(ids), judge.decode(ids.tolist(), skip_special_tokens=False)
            assert said.lstrip(" ") == decoded.lstrip(" ") or "\ufffd" in decoded
            assert starts is not None
            assert not len(starts) or 0 <= starts.min() <= starts.max() <= len(text)


def test_the_text_of_wordpiece_is_its_decoders() -> None:
    found = Tokenizer(JsonBackend(trained("WordPiece")), Roles(None, None, ()))
    vocabulary = found.vocabulary(150)
    (ids,) = found.encode(["they cultivated things, don't they"])
    assert vocabulary.text(ids) == " they cultivated things, don ' t they"
    assert vocabulary.word_at(np.array(ids), 1).text == "cultivated"


SENTENCEPIECE = {
    f"{kind}, {'prefix' if prefix else 'no prefix'}, {normaliser}, {'bytes' if more else 'no bytes'}": (
        kind, prefix, normaliser, more,
    )
    for kind, prefix, normaliser, more in product(
        ("bpe", "unigram"), (True, False), ("identity", "nmt_nfkc"),
        ({}, {"byte_fallback": True, "remove_extra_whitespaces": False, "user_defined_symbols": ["<|end|>"]}),
    )
}  # fmt: skip


@pytest.mark.parametrize("kind", SENTENCEPIECE)
def test_a_tokenizer_model_alone_gives_sentencepieces_ids(kind, tmp_path, rng) -> None:
    model, prefix, normaliser, more = SENTENCEPIECE[kind]
    data = sentencepiece_model(model, prefix=prefix, normaliser=normaliser, **more)
    (tmp_path / "tokenizer.model").write_bytes(data)
    judge = SentencePieceProcessor(model_proto=data)
    texts = hostile(rng, 200)
    found = find_tokenizer(tmp_path, d_vocab=500)
    true = judge.encode(texts, out_type=int)
    assert found.encode(texts, control="text") == true
    vocabulary = found.vocabulary(500)
    for text, ids, (mine, starts) in zip(texts, true, found.encode_documents(vocabulary, texts), strict=True):
        plain = [i for i in ids if not judge.is_unknown(i)]
        said, decoded = vocabulary.text(plain), judge.decode(plain)
        assert said.lstrip(" ") == decoded.lstrip(" ") or "\ufffd" in decoded
        assert len(starts) == len(mine)
        if not any(token in text for token in ("<s>", "</s>")):
            assert mine.tolist() == ids


def test_control_tokens_that_are_written_out(tmp_path) -> None:
    text = "Hello<|end|> world"
    found = find_tokenizer(write_json(tmp_path / "json", byte_level("GPT-2"), eos_token="<|end|>"))
    assert found.eos in found.encode([text])[0]
    assert found.eos not in found.encode([text], control="text")[0]
    assert found.eos in found.encode([text])[0], "the choice is no state"
    vocabulary = found.vocabulary(400)
    assert vocabulary.text(found.encode([text], control="text")[0]) == text
    data = sentencepiece_model("bpe", prefix=True, byte_fallback=True, remove_extra_whitespaces=False)
    (tmp_path / "tokenizer.model").write_bytes(data)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": "</s>"}))
    found = find_tokenizer(tmp_path)
    judge = SentencePieceProcessor(model_proto=data)
    assert found.encode(["cat</s>sat"])[0] == [*judge.encode("cat"), judge.eos_id(), *judge.encode("sat")]
    assert found.encode(["cat</s>sat"], control="text")[0] == judge.encode("cat</s>sat")
    ids, starts = found.encode_documents(found.vocabulary(400), ["cat</s>sat"])[0]
    assert starts[ids.tolist().index(judge.eos_id())] == 3


def test_added_tokens_beyond_the_model_are_left_out(tmp_path) -> None:
    library = byte_level("GPT-2")
    n = library.get_vocab_size()
    library.add_special_tokens(["[PAD]"])
    folder = write_json(tmp_path, library, pad_token="[PAD]")
    assert n in find_tokenizer(folder).encode(["x[PAD]"])[0]
    found = find_tokenizer(folder, d_vocab=n)
    assert max(found.encode(["x[PAD]"])[0]) < n
    assert found.size == n
    with pytest.raises(SubjectError, match=rf"it has {n} ids and the model has {n - 1}, so it is of another model"):
        find_tokenizer(folder, d_vocab=n - 1)


def test_tokens_that_only_the_config_adds(tmp_path) -> None:
    library = byte_level("GPT-2")
    n = library.get_vocab_size()
    stated = {str(n): {"content": "<|im|>", "special": True}, str(n + 5): {"content": "<|far|>", "special": True}}
    found = find_tokenizer(write_json(tmp_path, library, added_tokens_decoder=stated))
    assert found.encode(["a<|im|>"])[0][-1] == n
    assert n in found.control_ids
    assert found.backend.id_of("<|far|>") is None


def test_truncation_and_padding_of_the_file_are_off(tmp_path) -> None:
    library = byte_level("GPT-2")
    library.enable_truncation(3)
    library.enable_padding(length=9)
    found = find_tokenizer(write_json(tmp_path, library))
    short, long = found.encode(["a", "cat sat cat sat cat"])
    assert len(short) == 1
    assert len(long) > 3


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[1]", b"\xff", b'{"added_tokens": [{"id": "x"}]}', b'{"added_tokens": [7]}']
)
def test_a_damaged_tokenizer_json(data, tmp_path) -> None:
    (tmp_path / "tokenizer.json").write_bytes(data)
    with pytest.raises(SubjectError, match=r"reading the tokenizer .*tokenizer\.json: the file is damaged, or .* Copy"):
        find_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "is no SentencePiece model"),
        (b"junk" * 99, "is no SentencePiece model"),
        (b"IQ== 0\nIg== 1\n", "is a tiktoken"),
    ],
)
def test_a_tokenizer_model_that_is_none(data, what, tmp_path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(data)
    with pytest.raises(SubjectError, match=rf"it {what}.* Put the model's tokenizer\.json beside it"):
        find_tokenizer(tmp_path)


def test_saved_and_read_again(tmp_path, rng) -> None:
    texts = hostile(rng, 50)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "tokenizer.model").write_bytes(sentencepiece_model("unigram", prefix=True))
    (tmp_path / "a" / "added_tokens.json").write_text('{"<|x|>": 110}')
    sources = [tmp_path / "a", write_json(tmp_path / "b", byte_level("Qwen 2"), eos_token="<|end|>")]
    for i, source in enumerate(sources):
        (out := tmp_path / f"out{i}").mkdir()
        found = find_tokenizer(source)
        found.save(out)
        again = find_tokenizer(out)
        assert again.encode(texts) == found.encode(texts)
        assert (again.bos, again.eos, again.control_ids) == (found.bos, found.eos, found.control_ids)
        assert again.token_bytes == found.token_bytes
