"""The run of a layer: the other contexts, and the word alone."""

from __future__ import annotations

import numpy as np
import pytest
from perturbation_twins import CONFIG, in_context, one_by_one

from neurolocal.perturbation.layer_run import CONTEXTS, PREFIX, LayerRun, random_contexts
from neurolocal.subject.packed import Packed
from neurolocal.words import WORD


class NoBos(Packed):
    """A subject whose rows begin with nothing."""

    bos = None  # pyright: ignore[reportIncompatibleMethodOverride]


def test_without_bos_a_word_alone_begins_the_row(small, toy) -> None:
    neurons = small.examples(2, range(4))
    asked = in_context(small, toy)
    asked.subject = NoBos(small.subject)
    table = asked.perturb(neurons, 2)
    measured = table.substitutes
    for i in [i for i, kind in enumerate(measured.kind) if kind == "alone"]:
        example = neurons[int(measured.neuron[i])][int(measured.rank[i])]
        word = small.subject.vocabulary.word_at(small.rows[example.row], example.position)
        tokens = tuple(int(t) for t in small.rows[example.row][word.start : word.end])
        values = one_by_one(small.subject, np.empty(0, np.int64), 2, [(0, tokens, int(measured.neuron[i]))])[0]
        assert float(measured.activation[i]) == pytest.approx(float(values.max()), abs=1e-4)
    assert measured.kind.count("alone") == sum(len(own[: CONFIG.examples]) for own in neurons.values())


def test_contexts_are_words_behind_a_prefix_and_at_most_one_a_row(small) -> None:
    subject, row_index = Packed(small.subject), np.array(sorted(small.rows), np.int64)
    found = random_contexts(subject, small.rows.__getitem__, row_index, seed=3)
    assert 0 < len(found) <= min(CONTEXTS, len(row_index))
    assert len({context.row for context in found}) == len(found)
    for row, place in found:
        assert WORD.fullmatch(place.text)
        assert place.end > PREFIX
        assert subject.vocabulary.word_at(small.rows[row], place.start) == place
    assert random_contexts(subject, small.rows.__getitem__, row_index, seed=3) == found
    seeds = [random_contexts(subject, small.rows.__getitem__, row_index, seed=seed) for seed in range(4, 9)]
    assert any(other != found for other in seeds)


def test_rows_that_are_too_short_have_no_context(small) -> None:
    short = {i: row[:PREFIX] for i, row in small.rows.items()}
    row_index = np.array(sorted(short), np.int64)
    assert random_contexts(Packed(small.subject), short.__getitem__, row_index, seed=3) == []


def test_every_original_is_reported_with_its_stored_activation(small, toy) -> None:
    neurons = small.examples(2, range(6))
    base = in_context(small, toy)
    run = LayerRun(base.subject, base.rows, base.finder, 2, contexts=base.contexts)
    pairs: list[tuple[float, float]] = []
    measured = run.run(neurons, lowest=lambda e: False, repeated=lambda a, b: pairs.append((a, b)), progress=False)
    stored = sorted(e.activation for own in neurons.values() for e in own[: CONFIG.examples])
    assert sorted(a for a, _ in pairs) == stored
    assert all(b == pytest.approx(a, abs=1e-4) for a, b in pairs)
    assert not np.isnan(np.frombuffer(measured.activation, np.float32)).any(), "every substitute was run"


def test_no_word_is_run_in_its_own_row_or_in_place_of_itself(small, toy) -> None:
    neurons = small.examples(2, range(12))
    base = in_context(small, toy, contexts=5)
    places = {(context.row, context.place.start): context.place.text for context in base.contexts}
    run = LayerRun(base.subject, base.rows, base.finder, 2, contexts=base.contexts)
    measured = run.measured
    for neuron, own in neurons.items():
        for example in own[: CONFIG.examples]:
            word = small.subject.vocabulary.word_at(small.rows[example.row], example.position)
            original = base.finder.original(small.rows[example.row], word)
            before = len(measured)
            run._add_other_contexts(neuron, example, word, original, lowest=False)
            assert 1 <= len(measured) - before <= 1 + 5
            for row, numbers in run._elsewhere.items():
                for i in [i for i in numbers if i >= before]:
                    assert row != example.row
                    assert places[row, measured.position[i]].casefold() != word.text.casefold()
