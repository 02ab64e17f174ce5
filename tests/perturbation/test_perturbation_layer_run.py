"""The run of a layer: the other contexts, and the word alone."""

from __future__ import annotations

import numpy as np
import pytest
from perturbation_twins import CONFIG, in_context, one_by_one

from neurolocal.perturbation.layer_run import CONTEXTS, FIRST_BATCH, PREFIX, ROWS, LayerRun, parts, random_contexts
from neurolocal.perturbation.measurements import joined
from neurolocal.records import KINDS
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


def run_of(asked, neurons, layer: int) -> LayerRun:
    return LayerRun(
        asked.subject, asked.rows, asked.finder, layer, neurons, contexts=asked.contexts, lowest=lambda e: False
    )


def test_every_original_is_run_and_every_substitute(small, toy) -> None:
    neurons = small.examples(2, range(6))
    run = run_of(in_context(small, toy), neurons, 2)
    measured = joined([run.part(part).evidence() for part in run.parts])
    original = np.flatnonzero(measured.kind == KINDS.index("original"))
    stored = {(n, e.rank): e.activation for n, own in neurons.items() for e in own[: CONFIG.examples]}
    assert len(original) == len(stored)
    for i in original:
        assert measured.activation[i] == pytest.approx(stored[measured.neuron[i], measured.rank[i]], abs=1e-4)
    assert not np.isnan(measured.activation).any()


def test_a_part_gives_the_same_bits_whatever_else_its_process_does(small, toy, monkeypatch) -> None:
    monkeypatch.setattr("neurolocal.perturbation.layer_run.ROWS", 2)
    neurons = small.examples(2, range(12))
    one = run_of(in_context(small, toy), neurons, 2)
    assert len(one.parts) > 6
    whole = {part: one.part(part).evidence() for part in one.parts}
    worker = in_context(small, toy)
    run_of(worker, small.examples(1, range(30)), 1).part(FIRST_BATCH)  # of another layer
    for part in reversed(one.parts):
        again = run_of(worker, neurons, 2).part(part).evidence()
        for name, column in whole[part].items():
            same = again[name] == column if name == "texts" else again[name].tobytes() == column.tobytes()
            assert same, (part, name)
    assert sum(len(evidence["neuron"]) for evidence in whole.values()) == len(joined(list(whole.values())).neuron)


def test_the_parts_are_known_without_the_subject() -> None:
    assert parts(0, contexts=True) == parts(0, contexts=False) == []
    assert parts(1, contexts=False) == [FIRST_BATCH]
    assert parts(2 * ROWS + 1, contexts=True) == [*range(FIRST_BATCH), *range(FIRST_BATCH, FIRST_BATCH + 3)]


def test_no_word_is_run_in_its_own_row_or_in_place_of_itself(small, toy) -> None:
    neurons = small.examples(2, range(12))
    base = in_context(small, toy, contexts=5)
    run, found = run_of(base, neurons, 2), 0
    for own in neurons.values():
        for example in own[: CONFIG.examples]:
            word = small.subject.vocabulary.word_at(small.rows[example.row], example.position)
            others = list(run._other_contexts(example, word))
            found += len(others)
            assert len(others) <= 5
            for context, there in others:
                assert context in base.contexts
                assert context.row != example.row
                assert context.place.text.casefold() != word.text.casefold()
                assert there.text.strip() == word.text
    assert found == sum(map(len, run._elsewhere.values())) > 0
