"""Near-duplicate examples: those found are those that a plain loop over positions finds."""

import numpy as np
import pytest

from neurolocal.records import Example
from neurolocal.report.neuron import show
from neurolocal.report.repeats import ALIKE, LEAST, repeats
from neurolocal.report.rows import report_rows


def example(rank, tokens, peak):
    tokens = np.asarray(tokens, np.int64)
    return Example(rank, rank, 100 + peak, 9.0 - rank, 100, tokens, np.zeros(len(tokens), np.float32))


def twin(examples):
    """The same by a loop over the offsets from the peak."""
    found = []
    for i, one in enumerate(examples):
        match = None
        for j, other in enumerate(examples[:i]):
            offsets = [o for o in range(-99, 100) if all(0 <= e.peak + o < len(e.tokens) for e in (one, other))]
            equal = sum(int(one.tokens[one.peak + o]) == int(other.tokens[other.peak + o]) for o in offsets)
            if found[j] is None and match is None and len(offsets) >= LEAST and equal / len(offsets) >= ALIKE:
                match = j
        found.append(match)
    return found


@pytest.mark.parametrize("seed", range(20))
def test_the_repeats_are_those_of_a_plain_loop(seed):
    rng = np.random.default_rng(seed)
    texts = [rng.integers(0, 50, 40) for _ in range(3)]
    examples = []
    for rank in range(12):
        text = texts[rng.integers(3)].copy()
        changed = rng.random(40) < rng.choice([0.0, 0.1, 0.2, 0.5])
        text[changed] = rng.integers(0, 50, int(changed.sum()))
        start, stop = int(rng.integers(0, 20)), int(rng.integers(21, 41))
        examples.append(example(rank, text[start:stop], 20 - start))
    found = repeats(examples)
    assert found == twin(examples)
    assert repeats([]) == []


def test_short_windows_and_other_texts_are_not_marked():
    text = np.arange(20)
    assert repeats([example(0, text, 10), example(1, text, 10)]) == [None, 0]
    assert repeats([example(0, text, 10), example(1, text, 11)]) == [None, None]
    assert repeats([example(0, text[:7], 3), example(1, text[:7], 3)]) == [None, None]


def test_a_repeated_text_is_marked_in_every_view(small_store, monkeypatch, tmp_path):
    store = small_store()
    listed = store.examples(2, 0)
    same = [listed[0], example(1, np.arange(20), 10), example(2, np.arange(20), 10)]
    monkeypatch.setattr(type(store), "examples", lambda *a, **k: same)
    out = tmp_path / "shown.txt"
    with out.open("w", encoding="utf-8") as file:
        show(store, 2, 0, out=file, width=100)
    text = out.read_text(encoding="utf-8")
    assert text.count("nearly the text of 2") == 1
    monkeypatch.setattr(type(store), "example_lists", lambda *a, **k: [same] * 12)
    assert report_rows(store, [2])[0].repeats == [None, None, 1]
    page = pytest.importorskip("neurolocal.report.page")
    pytest.importorskip("jinja2")
    assert page.page(store, [2], cards=1).count("nearly the text of 2") == 1
