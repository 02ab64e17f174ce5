"""A tokenizer tried on a sample: what is as promised is not mentioned, what is not is said."""

from __future__ import annotations

import json

from tokenizer_twins import TRAINING, byte_level, hostile, metaspace_bpe, sentencepiece_model, wordpiece, write_json

from neurolocal.subject.tokenizers import find_tokenizer
from neurolocal.subject.tokenizers.examine import SAMPLE, examine


def test_a_faithful_tokenizer_is_not_mentioned(tmp_path, rng) -> None:
    found = find_tokenizer(write_json(tmp_path, byte_level("Llama 3")))
    tried = examine(found, found.vocabulary(400), hostile(rng, 100))
    assert tried.lines(found) == []
    assert tried.facts() == {"texts": 100, "changed": 0, "other_ids": {}}


def test_a_tokenizer_that_changes_texts_says_so(tmp_path) -> None:
    found = find_tokenizer(write_json(tmp_path, wordpiece()))
    (line,) = examine(found, found.vocabulary(200), ["The CAT", "the cat"]).lines(found)
    assert line == (
        "1 of 2 documents tried are not what their tokens say, since the tokenizer (WordPiece) changes texts "
        "(first: 'The CAT' became 'the cat')"
    )


def test_a_faithful_kind_that_loses_text_is_a_warning(tmp_path) -> None:
    """A byte-level vocabulary from which a byte was taken away."""
    stated = json.loads(byte_level("GPT-2").to_str())
    (tmp_path / "tokenizer.json").write_text(json.dumps(stated))
    del stated["model"]["vocab"]["!"]
    stated["model"]["merges"] = [pair for pair in stated["model"]["merges"] if "!" not in "".join(pair)]
    (tmp_path / "tokenizer.json").write_text(json.dumps(stated))
    found = find_tokenizer(tmp_path)
    (line,) = examine(found, found.vocabulary(400), ["stop", "stop!"]).lines(found)
    assert line.startswith("WARNING: 1 of 2 documents tried are not what their tokens say (first: ")


def test_two_judges(tmp_path) -> None:
    """tokenizer.json decides; the tokenizer.model beside it is another vocabulary."""
    folder = write_json(tmp_path, metaspace_bpe())
    (folder / "tokenizer.model").write_bytes(sentencepiece_model("bpe", prefix=True, byte_fallback=True))
    found = find_tokenizer(folder)
    tried = examine(found, found.vocabulary(500), TRAINING)
    lines = tried.lines(found)
    assert lines[-1].startswith("WARNING: tokenizer.model, read by sentencepiece, gives other ids for 3 of 3 documents")
    assert tried.facts()["other_ids"] == {"tokenizer.model, read by sentencepiece,": 3}


def test_a_tokenizer_of_ones_own_is_held_against_the_models(tmp_path) -> None:
    folder = write_json(tmp_path / "a", byte_level("GPT-2"))
    other = write_json(tmp_path / "b", byte_level("single digits"))
    found = find_tokenizer(folder, given=other)
    (line,) = examine(found, found.vocabulary(400), ["no number", "1234 1234"]).lines(found)
    assert line.startswith("WARNING: the model's own tokenizer gives other ids for 1 of 2 documents tried")
    same = find_tokenizer(folder, given=write_json(tmp_path / "c", byte_level("GPT-2")))
    assert examine(same, same.vocabulary(400), ["1234 1234"]).lines(same) == []


def test_a_long_text_is_tried_in_part(tmp_path) -> None:
    found = find_tokenizer(write_json(tmp_path, byte_level("GPT-2")))
    tried = examine(found, found.vocabulary(400), ["a" * SAMPLE * 3, "never reached"])
    assert tried.texts == 1
