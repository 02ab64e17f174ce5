"""The section of each stage: figures beside their null, and lists of words."""

from math import nan

import numpy as np
import pytest
from tables import filled

from neurolocal.meanings.table import MeaningsTable
from neurolocal.records import TABLES, PerturbationTable, ScoreTable, SimilarityTable
from neurolocal.report.layer import read_layer
from neurolocal.report.sections import SECTIONS, figures, other_evidence, word_lists
from neurolocal.store import Store, add_evidence


@pytest.fixture
def read(small_store):
    """Layer 2 of a store with these tables alone."""

    def make(**tables):
        path = small_store(stages=()).path
        add_evidence(path, [(stage, 2, "largest", table, {}) for stage, table in tables.items()], site="post")
        opened.append(Store(path))
        return read_layer(opened[-1], 2)

    opened = []
    yield make
    for store in opened:
        store.close()


def printed(read, neuron):
    return [(f.name, f.text, f.null_text, f.test) for f in figures(read, neuron)]


def test_every_stage_of_the_project_has_a_section():
    assert set(SECTIONS) == set(TABLES)


def test_no_evidence(read):
    empty = read()
    assert figures(empty, 0) == []
    assert word_lists(empty, 0) == []
    assert other_evidence(empty, 0) == {}


def test_similarity(read):
    table = filled(
        SimilarityTable, [3], score=[0.5], null_mean=[0.1], null_sd=[0.04], z=[10], p=[0.01], q=[0.02],
        form=["end ing"], form_share=[0.9], form_p=[0.001], document_score=[0.4], document_z=[2.5],
    )  # fmt: skip
    made = read(similarity=table)
    assert printed(made, 3) == [
        ("coherence", "0.50", "random words 0.10 ± 0.04", "z = 10.0, p = 0.01, q = 0.02"),
        ("spelling: end ing", "90 %", "", "p = 0.001"),
        ("texts alike (Doc2Vec)", "0.40", "", "z = 2.5"),
    ]
    coherence = figures(made, 3)[0]
    assert (coherence.number, round(coherence.null_number, 6)) == (0.5, 0.1)
    assert printed(made, 2) == []
    assert printed(read(similarity=filled(SimilarityTable, [3])), 3) == [("coherence", "–", "", "")]


def test_perturbation(read):
    table = filled(
        PerturbationTable, [1], half=[0.75], control_half=[0.25], held=[0.5], relative=[0.7], control_relative=[0.2],
        grade1=[0.6], grade2=[0.5], auc=[0.9], p=[0.01], q=[0.03], dose=[0.8], alone=[0.3], reach_half=[0.6],
    )  # fmt: skip
    assert printed(read(perturbation=table), 1) == [
        ("neighbours keep half", "75 %", "controls 25 %", "p = 0.01, q = 0.03"),
        ("neighbours keep all", "50 %", "", ""),
        ("neighbours mean activation", "70 %", "controls 20 %", ""),
        ("neighbour above control", "0.90", "chance 0.50", ""),
        ("nearer words, more activation", "0.80", "70 % → 60 % → 50 % → – → 20 %", ""),
        ("new words of this kind keep half", "60 %", "", ""),
        ("word alone, mean activation", "30 %", "", ""),
    ]


def test_score_shows_measured_measures_with_their_control(read):
    table = filled(
        ScoreTable, [0, 0, 0, 1], measure=["detection_auprc", "firing_f1", "ngram_f1", "token_f1"],
        value=[0.8, nan, 0.5, 0.6], low=[0.7, nan, 0.4, nan], high=[0.9, nan, 0.6, nan], control=[0.5, nan, nan, nan],
    )  # fmt: skip
    made = read(score=table)
    name = "description: texts found, AUPRC"
    assert printed(made, 0) == [(name, "0.80", "another's 0.50", "95 %: 0.70 to 0.90")]
    assert printed(made, 1) == [("token look-up: firing predicted, F1", "0.60", "", "")]


def test_figures_are_in_the_order_of_the_stages(small_store):
    made = read_layer(small_store(), 2)
    both = set(made.rows["similarity"]) & set(made.rows["perturbation"])
    names = [figure.name for figure in figures(made, min(both))]
    assert names.index("coherence") < names.index("neighbours keep half")


def test_word_lists_and_which_of_them_are_on_the_page(small_store):
    made = read_layer(small_store(), 2)
    neuron = int(made.tables["perturbation"].neuron[0])
    lists = [(words.name, [r.word for r in words.words], words.on_page) for words in word_lists(made, neuron)]
    assert lists == [
        ("raise it", ["Friday"], False),
        ("neighbours", ["Friday", "Tuesday"], True),
        ("controls", ["rain"], True),
    ]


def test_meanings(read):
    table = filled(MeaningsTable, [0, 1, 2], p=[0.001, 1.0, np.nan], q=[0.02, 1.0, np.nan], n_parts=[2, 0, 0])
    shown = read(meanings=table)
    assert printed(shown, 0) == [("meanings", "2", "", "p = 0.001, q = 0.02")]
    assert printed(shown, 1) == [("meanings", "1", "", "p = 1, q = 1")]
    assert printed(shown, 2) == []
