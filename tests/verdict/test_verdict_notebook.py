"""The notebook's ranking: shares of the layer's largest average score."""

import numpy as np
from verdict_layers import CONFIG, DAYS, perturbation, similarity, statistics

from neurolocal.config import VerdictConfig
from neurolocal.verdict.table import verdict_table


def test_notebook_ranks_the_kept_by_share_of_the_largest():
    sim = similarity([0] * 6, [np.nan] * 6, kept=[True, True, False, True, True, True])
    per = perturbation([0] * 5, [0] * 5, [1] * 5, neuron=[3, 1, 0, 2, 5], score=[1.25, 5.0, 1.5, 9.0, np.nan])
    table = verdict_table(statistics([3.0] * 6), sim, per, peaks=[DAYS] * 6, config=CONFIG, method="notebook")
    np.testing.assert_allclose(table.score, [0.3, 1.0, 0, 0.25, 0, 0], rtol=1e-6)
    assert table.verdict == ["concept", "concept", "unclear", "unclear", "unclear", "unclear"]
    assert table.rank.tolist() == [1, 0, 3, 2, 4, 5]
    assert table.reason[0] == "notebook: average score 1.5, 0.300 of the layer's 5"
    assert table.reason[2] == "notebook: not kept"
    assert table.reason[4] == "notebook: kept by similarity, no average score"
    assert VerdictConfig().floor == 0.3


def test_notebook_without_a_positive_score_or_without_tables():
    sim = similarity([0, 0], [1, 1], kept=[True, True])
    per = perturbation([0, 0], [0, 0], [1, 1], score=[-1.0, -2.0])
    for tables in ((sim, per), (sim, None), (None, per), (None, None)):
        table = verdict_table(statistics([3.0, 3.0]), *tables, peaks=[DAYS] * 2, config=CONFIG, method="notebook")
        assert table.score.tolist() == [0, 0]
        assert table.verdict == ["unclear", "unclear"]


def test_notebook_gives_a_dead_neuron_no_score():
    sim = similarity([0, 0], [1, 1], kept=[True, True])
    per = perturbation([0, 0], [0, 0], [1, 1], score=[2.0, 1.0])
    table = verdict_table(statistics([1e-9, 3.0]), sim, per, peaks=[DAYS] * 2, config=CONFIG, method="notebook")
    assert table.verdict == ["dead", "concept"]
    assert table.score.tolist() == [0, 0.5], "the dead neuron's average is still the layer's largest"
    assert table.reason[0] == "largest |activation| 1e-09 over 1,000 positions, under 1e-06"
