"""A layer's tables, with access by neuron."""

from math import isnan, nan

from tables import filled

from neurolocal.records import SIDES, TABLES, ScoreTable
from neurolocal.report.layer import read_layer
from neurolocal.store import Store, add_evidence


def test_cells_are_those_of_the_tables_and_otherwise_unknown(small_store):
    read = read_layer(small_store(seed=2), 5)
    for stage, number, text in (("similarity", "score", "form"), ("summary", "gain", "description")):
        table = read.tables[stage]
        for neuron in range(12):
            where = [i for i, n in enumerate(table.neuron) if n == neuron]
            assert read.has(stage, neuron) == bool(where)
            assert read.text(stage, text, neuron) == (getattr(table, text)[where[0]] if where else None)
            value = read.figure(stage, number, neuron)
            assert value == getattr(table, number)[where[0]] if where else isnan(value)


def test_a_stage_that_has_not_run(small_store):
    read = read_layer(small_store(stages=()), 2)
    assert dict(read.tables) == dict.fromkeys(TABLES)
    assert read.text("summary", "description", 0) is None
    assert isnan(read.figure("perturbation", "half", 0))
    assert read.ranked() == list(range(12))
    assert read.scores(0) == {}
    assert read.substitute_rows == {}


def test_neurons_by_rank(small_store):
    read = read_layer(small_store(), 2)
    rank = dict(zip(read.tables["verdict"].neuron, read.tables["verdict"].rank, strict=True))
    assert [rank[neuron] for neuron in read.ranked()] == list(range(12))


def test_examples_at_once_and_one_by_one_are_equal(small_store):
    store = small_store()
    for side in SIDES:
        whole, single = (read_layer(store, 2, side=side, whole=whole) for whole in (True, False))
        assert single.lists is None
        for neuron in (0, 7):
            for a, b in zip(whole.examples(neuron), single.examples(neuron), strict=True):
                assert (a.rank, a.row, a.position, a.activation) == (b.rank, b.row, b.position, b.activation)
                assert a.tokens.tolist() == b.tokens.tolist()


def test_scores_without_a_value_are_omitted(small_store):
    path = small_store().path
    measures = ["detection_auc", "fuzzing_auc", "firing_f1"]
    table = filled(ScoreTable, [4, 4, 5], measure=measures, value=[0.5, nan, 1], low=[0.25, nan, 1], control=[0, 0, 1])
    add_evidence(path, [("score", 2, "largest", table, {})], site="post")
    with Store(path) as store:
        read = read_layer(store, 2)
    assert list(read.scores(4)) == ["detection_auc"]
    assert [read.scores(4)["detection_auc"][i] for i in (0, 1, 3)] == [0.5, 0.25, 0.0]
    assert read.scores(0) == {}
