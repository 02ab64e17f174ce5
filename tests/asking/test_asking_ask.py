"""Answers against the subject's own activations and the store's own figures, computed one by one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from asked_run import DESCRIPTIONS

from neurolocal.asking import Asking, ask
from neurolocal.asking.answer import change
from neurolocal.asking.scale import read_distributions
from neurolocal.errors import ConfigError, StoreError, SubjectError
from neurolocal.store import Store

TEXT, OTHER = "Lily gave 3 red balls to a frog, and why?", "Lily gave 3 blue fish to a frog, and why?"


def by_hand(subject, text: str, *, bos: bool = True) -> tuple[list[int], list[np.ndarray]]:
    ids = [subject.bos] * bos + subject.encode([text])[0]
    tokens = torch.tensor([ids])
    return ids, [subject.activations(tokens, layer)[0].float().numpy() for layer in range(subject.n_layers)]


def test_an_answer_holds_the_subjects_activations_and_the_stores_words(subject, store) -> None:
    answer = Asking(subject, store).neurons(TEXT, [(2, 7), (0, 3), (2, 5), (2, 7)])
    ids, values = by_hand(subject, TEXT)
    assert [token.id for token in answer.tokens] == ids
    assert [token.text for token in answer.tokens] == subject.vocabulary.str_tokens(ids)
    assert [token.counted for token in answer.tokens] == [False] + [True] * (len(ids) - 1)
    assert answer.tokens[0].special
    assert [(one.layer, one.neuron) for one in answer.neurons] == [(2, 7), (0, 3), (2, 5), (2, 7)]
    verdicts = store.evidence("verdict", 2).verdict
    for one in answer.neurons:
        np.testing.assert_allclose(one.activations, values[one.layer][:, one.neuron], atol=1e-5)
        largest = store.statistics(one.layer).maximum[one.neuron]
        np.testing.assert_allclose(one.shares, one.activations / largest, rtol=1e-6)
        assert one.extreme == largest
        (known,) = read_distributions(store, one.layer, [one.neuron])
        np.testing.assert_array_equal(one.quantiles, known.below(one.activations))
        assert one.peak == 1 + int(np.argmax(values[one.layer][1:, one.neuron]))
        assert one.verdict == (verdicts[one.neuron] if one.layer == 2 else None)
        assert one.description == (DESCRIPTIONS[one.neuron] if one.layer == 2 else "")


@pytest.mark.parametrize("side", ["largest", "smallest"])
def test_the_strongest_are_those_that_a_search_of_everything_finds(subject, store, side) -> None:
    answer = Asking(subject, store, side=side).strongest(TEXT, n=7)
    _, values = by_hand(subject, TEXT)
    found = []
    for layer in store.layers:
        s = store.statistics(layer)
        for n in range(subject.d_mlp[layer]):
            own = values[layer][1:, n]
            share = own.max() / s.maximum[n] if side == "largest" else own.min() / s.minimum[n]
            if (s.maximum[n] if side == "largest" else -s.minimum[n]) >= 1e-6:
                found.append((-round(float(share), 4), layer, n))
    assert [(-round(one.peak_share, 4), one.layer, one.neuron) for one in answer.neurons] == sorted(found)[:7]


def test_strongest_of_some_layers_and_of_none(subject, store) -> None:
    asking = Asking(subject, store)
    assert {one.layer for one in asking.strongest(TEXT, n=50, layers=[1, 3]).neurons} == {1, 3}
    assert asking.strongest(TEXT, n=0).neurons == []
    with pytest.raises(ConfigError, match="no layers"):
        asking.strongest(TEXT, layers=[])
    with pytest.raises(StoreError, match="looking for layer 9"):
        asking.strongest(TEXT, layers=[9])


def test_a_comparison_orders_by_the_change_of_the_share(subject, store) -> None:
    asking = Asking(subject, store)
    found = asking.compare(TEXT, OTHER, n=5)
    every = [(layer, n) for layer in store.layers for n in range(subject.d_mlp[layer])]
    before, after = (asking.neurons(text, every).neurons for text in (TEXT, OTHER))
    known = [(a, b) for a, b in zip(before, after, strict=True) if a.peak_share == a.peak_share]
    gains = [(-abs(max(b.peak_share, 0) - max(a.peak_share, 0)), b.layer, b.neuron) for a, b in known]
    expected = sorted(gains)[:5]
    assert [[one.layer, one.neuron] for one in found.first.neurons] == [place for _, *place in expected]
    assert [abs(gain) for gain in found.changes] == pytest.approx([-gain for gain, *_ in expected])
    assert found.first.neurons[0].activations.shape == (len(found.first.tokens),)
    assert len(found.second.neurons) == 5


def test_a_neuron_that_neither_text_excites_does_not_change(subject, store) -> None:
    asking = Asking(subject, store)
    every = [(layer, n) for layer in store.layers for n in range(subject.d_mlp[layer])]
    a, b = (asking.neurons(text, every).neurons for text in ("a", "the"))
    below = [(x, y) for x, y in zip(a, b, strict=True) if x.peak_share < 0 and y.peak_share < 0]
    assert below
    assert {change(x, y) for x, y in below} == {0.0}
    for x, _ in below:  # tiny extremes: shares far below 0
        asking.scale(x.layer).extreme[x.neuron] = 1e-4
    found = asking.compare("a", "the", n=20).first.neurons
    assert not {(one.layer, one.neuron) for one in found} & {(x.layer, x.neuron) for x, _ in below}


def test_a_comparison_may_have_no_neurons(subject, store) -> None:
    asking = Asking(subject, store)
    for layer in store.layers:
        asking.scale(layer).extreme[:] = np.nan
    found = asking.compare(TEXT, OTHER)
    assert (found.first.neurons, found.second.neurons, found.changes) == ([], [], [])


def test_the_tokens_of_two_texts_are_aligned(subject, store) -> None:
    found = Asking(subject, store).compare(TEXT, OTHER + " Yes.", [(1, 0)])
    pairs = found.pairs()
    first, second = ([t.id for t in answer.tokens] for answer in (found.first, found.second))
    assert [i for i, _ in pairs if i is not None] == list(range(len(first)))
    assert [j for _, j in pairs if j is not None] == list(range(len(second)))
    same = [(i, j) for i, j in pairs if i is not None and j is not None and first[i] == second[j]]
    assert len(same) > len(first) // 2
    assert pairs[0] == (0, 0)


def test_bos_is_as_the_collection_had_it(subject, collected) -> None:
    with Store(collected(max_rows=2, bos="none")) as store:
        answer = Asking(subject, store).neurons(TEXT, [(1, 4)])
        ids, values = by_hand(subject, TEXT, bos=False)
        assert [token.id for token in answer.tokens] == ids
        assert answer.tokens[0].counted
        np.testing.assert_allclose(answer.neurons[0].activations, values[1][:, 4], atol=1e-5)
    with Store(collected(max_rows=2, count_bos=True)) as store:
        answer = Asking(subject, store).neurons(TEXT, [(1, 4)])
        assert answer.tokens[0].id == subject.bos
        assert answer.tokens[0].counted


def test_a_distribution_is_read_once_and_few_are_kept(subject, store, monkeypatch) -> None:
    asking, asked = Asking(subject, store), []
    monkeypatch.setattr(ask, "KEPT", 3)
    monkeypatch.setattr(
        ask, "read_distributions", lambda *x: asked.append((x[1], *x[2])) or read_distributions(*x)
    )  # fmt: skip
    first = asking.neurons(TEXT, [(2, 5), (2, 7), (1, 0)])
    assert asked == [(2, 5, 7), (1, 0)]
    asking.neurons(TEXT, [(2, 7), (3, 1)])
    assert asked[2:] == [(3, 1)]
    again = asking.neurons(TEXT, [(2, 5)]).neurons[0]
    assert asked[3:] == [(2, 5)], "more than KEPT were known"
    np.testing.assert_array_equal(again.quantiles, first.neurons[0].quantiles)


def test_without_a_store_there_are_activations_alone(subject) -> None:
    asking = Asking(subject)
    (one,) = asking.neurons(TEXT, [(1, 4)]).neurons
    _, values = by_hand(subject, TEXT)
    np.testing.assert_allclose(one.activations, values[1][:, 4], atol=1e-5)
    assert one.peak == 1 + int(np.argmax(values[1][1:, 4]))
    assert np.isnan(one.shares).all()
    assert np.isnan(one.quantiles).all()
    assert (one.verdict, one.description) == (None, "")
    change = asking.compare(TEXT, OTHER, [(1, 4)])
    assert change.changes == [pytest.approx(change.second.neurons[0].peak_activation - one.peak_activation)]
    with pytest.raises(ConfigError, match=r"without a store nothing says .* Give a store .*--neuron 14:159"):
        asking.strongest(TEXT)


def test_what_cannot_be_asked(subject, store) -> None:
    asking = Asking(subject, store)
    with pytest.raises(StoreError, match="looking for neuron 172 of layer 1"):
        asking.neurons(TEXT, [(1, 172)])
    with pytest.raises(ConfigError, match="no neurons"):
        asking.neurons(TEXT, [])
    with pytest.raises(SubjectError, match="the text has no tokens"):
        asking.strongest("")
    with pytest.raises(SubjectError, match="Give a shorter text"):
        asking.strongest("ball " * 3000)
    with pytest.raises(ConfigError, match="choose largest or smallest"):
        Asking(subject, store, side="gate+_in+")
    with pytest.raises(ConfigError, match="the store is read at post"):
        Asking(subject, store, site="pre")


def test_many_threads_get_the_answers_of_one(subject, store) -> None:
    """Each pass hooks the same modules: two at once would receive each other's activations."""
    asking = Asking(subject, store)
    texts = [f"{TEXT} {'The dog ran. ' * i}" for i in range(8)]
    alone = [asking.neurons(text, [(4, 3)]) for text in texts]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda text: asking.neurons(text, [(4, 3)]), texts * 6))
    for i, answer in enumerate(together):
        assert answer.tokens == alone[i % 8].tokens
        for a, b in zip(answer.neurons, alone[i % 8].neurons, strict=True):
            assert np.array_equal(a.activations, b.activations)
