"""Examples as the notebook reads them, against its own loop."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import numpy as np
import pytest

from neurolocal.records import Example
from neurolocal.words import Vocabulary
from neurolocal.words.notebook_examples import notebook_examples

TEXTS = [" a", " b", " c", " d", " e", " f", "\n", '"', " é", ",", '="#', "\u2022", " x, y", "\\", ",,", "</b>", " 𝔘"]
VOCABULARY = Vocabulary([t.encode() for t in TEXTS], np.zeros(len(TEXTS), bool))


def example(rank: int, tokens: list[str], activations: Sequence[float]) -> Example:
    values = np.array(activations, np.float32)
    ids = np.array([TEXTS.index(t) for t in tokens], np.int64)
    return Example(rank, rank, 7 + int(values.argmax()), float(values.max()), 7, ids, values)


def test_the_last_entry_is_dropped_and_every_maximum_is_taken() -> None:
    tokens = TEXTS[:6]
    windows = [(tokens, [1, 4, 0, 4, 2, 4]), (tokens, [0, 1, 0, 0, 3, 9]), ([" a"], [2])]
    found = notebook_examples([example(i, *window) for i, window in enumerate(windows)], VOCABULARY)
    # Five tokens are left, so a phrase ends before the fifth: min(i + 3, n - 1).
    assert found == [
        (" b", 4.0, " a  b  c  d"),
        (" d", 4.0, " a  b  c  d"),
        (" e", 3.0, " b  c  d"),
    ]


def test_a_nan_beside_the_peak_does_not_hide_it() -> None:
    found = notebook_examples([example(0, TEXTS[:4], [1, float("nan"), 3, 0])], VOCABULARY)
    assert [(e.token, e.activation) for e in found] == [(" c", 3.0)]


def page_of(tokens, activations) -> str:
    """The line of a page that holds a text."""
    return json.dumps({"tokens": tokens, "values": activations, "minValue": -1, "maxValue": 1})


def literal_examples(page: str):
    """original-method.md, stage 1, word by word: regular expressions on the page, no JSON."""
    tokens = re.search(r'{"tokens": \[(.*)\], "values', page).group(1).replace('"', "").split(", ")[:-1]
    values = re.search(r'"values": \[(.*?)\]', page).group(1).split(",")
    activations = [float(np.float32(float(v))) for v in values[:-1]]
    n, found = len(tokens), []
    for i in range(len(activations)):
        if activations[i] == max(activations):
            found.append((tokens[i], activations[i], " ".join(tokens[max(i - 3, 0) : min(i + 3, n - 1)])))
    return found


def test_equals_the_literal_loop_over_a_page(rng: np.random.Generator) -> None:
    for _ in range(300):
        n = int(rng.integers(1, 12))
        tokens, activations = rng.choice(TEXTS, n).tolist(), (rng.integers(0, 3, n) * rng.random()).tolist()
        found = notebook_examples([example(0, tokens, activations)], VOCABULARY)
        assert [tuple(one) for one in found] == literal_examples(page_of(tokens, activations))


@pytest.mark.parametrize(
    ("token", "parsed"),
    [("\n", "\\n"), ('="#', "=\\#"), ("\u2022", "\\u2022"), ("\\", "\\\\"), (",", ","), (" é", " \\u00e9")],
)
def test_what_becomes_of_a_token(token, parsed) -> None:
    found = notebook_examples([example(0, [" a", token, " b"], [0, 1, 0])], VOCABULARY)
    assert [e.token for e in found] == [parsed]


def test_a_token_with_a_comma_and_a_space_shifts_those_behind_it() -> None:
    found = notebook_examples([example(0, [" x, y", " b", " c"], [0, 1, 0])], VOCABULARY)
    assert [e.token for e in found] == ["y"]
