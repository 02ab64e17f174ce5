"""Stores of 0.1.0: the tokenizer that 0.1.0 named otherwise is known where its ids are equal, and only there."""

from __future__ import annotations

from tokenizer_twins import SPLITS, byte_level, write_json
from tokenizers import Tokenizer, pre_tokenizers, trainers
from transformers import AutoTokenizer

from neurolocal.config import sha256
from neurolocal.subject.tokenizers import find_tokenizer
from neurolocal.subject.tokenizers.earlier import is_of_0_1_0


def named_by_0_1_0(folder) -> str:
    return sha256(AutoTokenizer.from_pretrained(str(folder), local_files_only=True).backend_tokenizer.to_str())


def with_numbers() -> Tokenizer:
    """It has tokens of several digits, which its split into single digits never lets it use, and 0.1.0 did."""
    library = byte_level("GPT-2")
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=270, special_tokens=["<|end|>"], initial_alphabet=alphabet, show_progress=False
    )
    library.train_from_iterator(["12 34 1212 3434"] * 50, trainer)
    library.pre_tokenizer = pre_tokenizers.Sequence(SPLITS["single digits"])
    return library


def test_equal_ids_are_known_and_others_are_not(tmp_path) -> None:
    same = write_json(tmp_path / "same", byte_level("GPT-2"), tokenizer_class="GPT2Tokenizer", eos_token="<|end|>")
    other = write_json(tmp_path / "other", with_numbers(), tokenizer_class="GPT2Tokenizer")
    for folder in (same, other):
        (folder / "config.json").write_text('{"model_type": "gpt2"}')
    found = find_tokenizer(same)
    assert found.facts()["sha256"] != named_by_0_1_0(same)
    assert is_of_0_1_0(found, named_by_0_1_0(same))
    assert not is_of_0_1_0(found, named_by_0_1_0(other))
    found = find_tokenizer(other)
    assert not is_of_0_1_0(found, named_by_0_1_0(other)), "0.1.0 split numbers otherwise"
    assert not is_of_0_1_0(found, "0" * 64)
