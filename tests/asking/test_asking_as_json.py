"""Answers as JSON: strict, whole, and hostile text unharmed."""

from __future__ import annotations

import json

import pytest
from asking_twins import DESCRIPTIONS

from neurolocal.asking import Asking, answer_object, comparison_object


def test_an_answer_as_json_says_what_the_record_says(subject, store) -> None:
    answer = Asking(subject, store).neurons("Lily ran.", [(2, 7)])
    found = json.loads(json.dumps(answer_object(answer), allow_nan=False))
    assert (found["format"], found["version"], found["site"], found["side"]) == ("neurolocal-try", 1, "post", "largest")
    assert [token["id"] for token in found["tokens"]] == [token.id for token in answer.tokens]
    (one,), (true,) = found["neurons"], answer.neurons
    assert one["description"] == DESCRIPTIONS[7]
    assert one["activations"] == pytest.approx(true.activations.tolist())
    assert one["quantiles"] == pytest.approx(true.quantiles.tolist())
    assert one["peak_share"] == pytest.approx(true.peak_share)
    assert found["tokens"][one["peak"]]["text"] == answer.tokens[true.peak].text


@pytest.mark.parametrize("text", ["\x00\ud800\u202e</script>", "日本語 🙂", "e\u0301\u200f\x1b[31m"])
def test_any_text_is_answered_in_strict_json(subject, text: str) -> None:
    answer = answer_object(Asking(subject).neurons(text, [(1, 3)]))
    said = json.dumps(answer, allow_nan=False, ensure_ascii=False).encode()
    assert json.loads(said)["neurons"][0]["shares"] == [None] * len(answer["tokens"])


def test_a_comparison_has_both_texts(subject, store) -> None:
    asking = Asking(subject, store)
    found = json.loads(json.dumps(comparison_object(asking.compare("Lily ran.", "Tom ran.", n=3)), allow_nan=False))
    assert len(found["neurons"]) == len(found["compare"]["neurons"]) == len(found["changes"]) == 3
    assert [0, 0] in found["pairs"]
