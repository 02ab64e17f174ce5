"""The data behind the pages: search files, rows, tables, pictures; compared with `find`, the report and plain numpy."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from site_twins import opened

from neurolocal.errors import StoreError
from neurolocal.literals import CASES
from neurolocal.records import TABLES
from neurolocal.report.layer import read_layer
from neurolocal.report.rows import report_rows
from neurolocal.site import peak_words, row_files, search_files, terms
from neurolocal.site.distributions import BARS, _distribution, layer_bands, layer_distributions
from neurolocal.site.example_lists import _key
from neurolocal.site.layer_rows import LayerRow, layer_rows
from neurolocal.site.neuron_page import RELATED, RELATED_WORDS, Related, _related
from neurolocal.site.peak_words import PeakWords
from neurolocal.site.row_files import RowFiles
from neurolocal.site.search_files import KINDS, SearchFiles
from neurolocal.site.selection import Selection, select
from neurolocal.site.substitution import HIGHEST, LOWEST, substitution
from neurolocal.site.terms import Index
from neurolocal.store import Store, find
from neurolocal.words import WORD


@pytest.fixture(scope="module")
def store() -> Store:
    return opened()


def searched(store: Store, **chosen: object) -> SearchFiles:
    selection = select(store, **chosen)
    return SearchFiles(store, selection, Index(store, selection))


def all_terms(files: SearchFiles, kind: str) -> list[list[Any]]:
    return [term for i in range(files.files(kind)) for term in files.file(kind, i) or []]


@pytest.mark.parametrize("kind", ["word", "token"])
def test_the_search_files_say_what_find_says(store: Store, kind: str, monkeypatch) -> None:
    monkeypatch.setattr(search_files, "ENTRIES", 20)
    files = searched(store)
    assert files.files(kind) > 3
    found = all_terms(files, kind)
    assert found
    for text, total, flat in found:
        matches = find(store, text.replace("⏎", "\n"), limit=None, word=kind == "word")
        expected = [(m.layer, m.neuron, m.examples, round(1000 * m.strength)) for m in matches]
        assert total == len(expected)
        assert [tuple(flat[i : i + 4]) for i in range(0, len(flat), 4)] == expected[: terms.MOST]


@pytest.mark.parametrize("kind", KINDS)
def test_terms_are_in_order_and_the_contents_name_the_first_of_each_file(store: Store, kind: str, monkeypatch) -> None:
    monkeypatch.setattr(search_files, "ENTRIES", 20)
    monkeypatch.setattr(search_files, "DESCRIBED", 4)
    files = searched(store)
    found = [text for text, *_ in all_terms(files, kind)]
    assert found == sorted(found)
    assert len(found) == len(set(found))
    assert files.contents()[kind] == [files.file(kind, i)[0][0] for i in range(files.files(kind))]
    assert files.file(kind, files.files(kind)) is None


def test_every_word_of_a_description_leads_to_its_neuron(store: Store) -> None:
    found = {text: neurons for text, _, neurons in all_terms(searched(store), "text")}
    described = [row for row in report_rows(store) if row.description]
    assert described
    for row in described:
        for word in WORD.findall(row.description):
            assert (row.layer, row.neuron) in [entry[:2] for entry in found[word.casefold()]]


def test_the_strongest_are_kept_and_all_are_counted(store: Store, monkeypatch) -> None:
    monkeypatch.setattr(terms, "MOST", 2)
    monkeypatch.setattr(terms, "AT_ONCE", 7)
    for text, total, flat in all_terms(searched(store), "word"):
        matches = find(store, text.replace("⏎", "\n"), limit=None, word=True)
        assert total == len(matches)
        assert [(m.layer, m.neuron) for m in matches[:2]] == [tuple(flat[i : i + 2]) for i in range(0, len(flat), 4)]


def test_a_part_of_the_model_finds_its_own_neurons_alone(store: Store) -> None:
    files = searched(store, layers=[5], neurons=[0, 1, 2])
    places = {tuple(flat[i : i + 2]) for _, _, flat in all_terms(files, "word") for i in range(0, len(flat), 4)}
    assert places == {(5, 0), (5, 1), (5, 2)}
    for _, total, flat in all_terms(files, "token"):
        assert total == len(flat) // 4


def test_rows_are_whole_and_those_of_a_part_are_the_ones_it_refers_to(store: Store, monkeypatch) -> None:
    monkeypatch.setattr(row_files, "TOKENS", 100)
    files = RowFiles(store, select(store))
    assert files.per_file == 100 // store.rows_stored[0].shape[1]
    rows = [row for number in files.numbers for row in files.file(number) or []]
    assert len(rows) == len(store.row_index)
    for texts, tokens in zip(rows, store.iter_rows(), strict=True):
        assert len(texts) == len(tokens)
        assert "".join(texts).replace("⏎", "\n").replace("·", " ") == store.vocabulary.text(tokens)
    part = RowFiles(store, select(store, layers=[5], neurons=[3]))
    wanted = {e.row // files.per_file for side in store.sides(5) for e in store.examples(5, 3, side)}
    assert part.numbers == sorted(wanted)
    assert part.file(next(n for n in files.numbers if n not in wanted)) is None


def test_rows_of_the_table_say_what_the_report_says(store: Store) -> None:
    expected = {row.neuron: row for row in report_rows(store, [5])}
    for row in layer_rows(read_layer(store, 5, whole=False), PeakWords(store), store.neurons(5).tolist()):
        report = expected[row.neuron]
        assert (row.rank, row.description) == (report.rank, report.description)
        for value, other in (
            (row.score, report.score),
            (row.coherence, report.similarity),
            (row.half, report.perturbation_half),
        ):
            assert value == pytest.approx(other, rel=1e-3) if value is not None else np.isnan(other)
        counts = Counter(report.words).most_common(5)
        assert row.words.count(",") <= 4
        for word, n in counts[:1]:
            assert word in row.words
            assert n == 1 or f"×{n}" in row.words
    assert LayerRow._fields[0] == "neuron"


def test_the_word_at_a_peak_is_the_one_in_its_window(store: Store, monkeypatch) -> None:
    monkeypatch.setattr(peak_words, "TOKENS", 60)
    monkeypatch.setattr(peak_words, "ROWS", 5)
    words, vocabulary = PeakWords(store), store.vocabulary
    for e in [e for neuron in store.neurons(2).tolist() for e in store.examples(2, neuron)] * 3:
        assert words.text(e.row, e.position) == vocabulary.word_at(store.row(e.row), e.position).text


def test_a_peak_outside_its_row_is_a_damaged_store(store: Store) -> None:
    words, row = PeakWords(store), int(store.row_index[0])
    length = len(store.row(row))
    for position in (length, -1):
        with pytest.raises(StoreError, match=f"an example is at position {position} of row {row}, which ends before"):
            words.text(row, position)
    for _ in range(length):  # until the row's words are kept
        words.text(row, 0)
    with pytest.raises(StoreError, match="which ends before it"):
        words.text(row, length)


def test_the_picture_of_the_substitution_is_what_the_table_says(store: Store) -> None:
    read = read_layer(store, 2, whole=False)
    tested = read.tables["perturbation"].substitutes
    neuron = int(tested.neuron[0])
    picture = substitution(read, neuron)
    near, control = picture.kinds
    assert (near.n, control.n) == (2, 1)
    assert [p.relative for p in near.points] == pytest.approx([3.0 / 4.0, 4.4 / 4.0])
    assert near.mean == pytest.approx((0.75 + 1.1) / 2)
    assert [(p.x, p.distance) for p in control.points] == [(pytest.approx(400 / 1.4, abs=0.1), 1.0)]
    assert near.points[0].y == pytest.approx(180 * (1 - (0.75 - LOWEST) / (HIGHEST - LOWEST)), abs=0.1)
    assert "near words 93 % (of 2 words), random controls 5 % (of 1 words)" in picture.meaning
    untested = next(n for n in store.neurons(2).tolist() if n not in tested.neuron)
    assert substitution(read, untested) is None


def test_distributions_count_every_neuron_once(store: Store) -> None:
    read = read_layer(store, 2, whole=False)
    made = {one.name: one for one in layer_distributions(read)}
    assert made["score"].n == len(read.tables["verdict"].neuron)
    assert made["coherence"].n == np.isfinite(read.tables["similarity"].score).sum()
    assert made["coherence"].null.count("h1") == BARS
    assert not made["kurtosis"].null
    bands = layer_bands({layer: store.statistics(layer) for layer in store.layers})
    assert {one.name for one in bands} == {"largest activation", "share of positions above 0.5", "kurtosis"}
    assert not layer_bands({2: store.statistics(2)})


@pytest.mark.parametrize("values", [[3e38] * 9, [3e38, 2.9999999e38], [-3e38, 3e38], [5.0] * 3, [1e-45, 0.0]])
def test_a_distribution_of_values_that_no_bars_fit_between(values: list[float]) -> None:
    made = _distribution(np.array(values, np.float32), np.empty(0), "name", "meaning")
    assert made is not None
    assert made.n == len(values)
    assert made.bars.startswith("M")
    assert "nan" not in made.bars


def related_twin(index: Index, place: tuple[int, int], words: list[str]) -> list[Related]:
    """The related neurons, one entry after another."""
    shared: dict[tuple[int, int], tuple[float, list[str]]] = {}
    for word in dict.fromkeys(word.casefold() for word in words[:RELATED_WORDS]):
        if word in index.number:
            begin, stop = index.word.offsets[index.number[word] :][:2].tolist()
            columns = (index.word.entries.layer, index.word.entries.neuron, index.word.entries.strength)
            for layer, neuron, strength in zip(*(column[begin:stop].tolist() for column in columns), strict=True):
                total, found = shared.get((layer, neuron), (0.0, []))
                shared[layer, neuron] = total + strength, [*found, word]
    shared.pop(place, None)
    best = sorted(shared.items(), key=lambda item: (-item[1][0], item[0]))[:RELATED]
    return [Related(*other, found, min(total, 1.0)) for other, (total, found) in best]


def test_related_neurons_are_those_of_a_plain_loop(store: Store) -> None:
    index, rng = Index(store, select(store)), np.random.default_rng(3)
    n = 0
    for layer in store.layers:
        for neuron in store.neurons(layer).tolist():
            words = ["no such word", *rng.choice(index.words, 7, replace=False).tolist()]
            words[2] = words[1].upper()  # counts once
            rng.shuffle(words)
            counts = Counter({word: 20 - i for i, word in enumerate(words)})
            expected = related_twin(index, (layer, neuron), words)
            assert _related(index, layer, neuron, counts) == expected
            n += len(expected) > 1
    assert n > 9
    assert _related(index, 5, 0, Counter(["no such word"])) == []


def test_the_selection_as_ranges() -> None:
    chosen = Selection({3: np.array([0, 1, 2, 7, 9, 10]), 4: np.array([], np.int64)}, {3: 12, 4: 12})
    assert chosen.ranges() == [[3, 0, 2, 7, 7, 9, 10], [4]]
    assert [chosen.at(3, n) for n in (0, 7, 8, 11)] == [0, 3, None, None]
    assert chosen.at(5, 0) is None


def test_anchors_of_the_sign_cases() -> None:
    assert [_key(side) for side in CASES] == ["gate-p-in-p", "gate-p-in-m", "gate-m-in-p", "gate-m-in-m"]


def test_stages_of_the_charts_are_stages() -> None:
    from neurolocal.site.distributions import COLUMNS

    assert {stage for stage, *_ in COLUMNS} <= set(TABLES)


def test_a_store_without_an_index_is_searched_all_the_same(store: Store, monkeypatch) -> None:
    expected = all_terms(searched(store), "word")
    has = store.checked.has
    monkeypatch.setattr(store.checked, "has", lambda name: name != "find" and has(name))
    assert all_terms(searched(store), "word") == expected


def test_no_layer_that_was_not_collected(store: Store) -> None:
    with pytest.raises(StoreError, match="layer 4"):
        select(store, layers=[4])
