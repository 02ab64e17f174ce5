"""Two stores, or a store and a list: the figures against slow twins, real lists against random weights, refusals."""

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from compare_twins import lists, words, write_store
from scipy import stats

from neurolocal.errors import StoreError
from neurolocal.neuroscope.compare.compare import compare
from neurolocal.neuroscope.compare.comparison_output import comparison_json, print_comparison
from neurolocal.neuroscope.compare.figures import spearman
from neurolocal.neuroscope.compare.tail import expected_maximum
from neurolocal.store import Store
from neurolocal.words import Vocabulary

GOLDEN = Path(__file__).parent / "golden"


def quiet(own, theirs, **more):
    return compare(own, theirs, say=lambda line: None, bar=False, **more)


def listed(path, layers):
    path.write_text(json.dumps([np.asarray(layer).tolist() for layer in layers]))
    return path


def random_store(path, rng, *, layers, width, **more):
    """A store of random weights, as its maxima go: of the asked shape, with lists of two."""
    v, tokens = words(rng, 50), rng.integers(1, 51, (40, 20))
    made = {i: lists(rng, neurons=width, k=2, rows=40, length=20) for i in range(layers)}
    return write_store(path, rng, vocabulary=v, tokens=tokens, layers=made, **more)


def reordered(rng, v):
    """The same tokens under other ids, and what the old ids become."""
    order = np.concatenate([[0], 1 + rng.permutation(len(v.tokens) - 1)])
    return Vocabulary([v.tokens[i] for i in order], v.special), np.argsort(order)


@pytest.fixture
def pair(rng, tmp_path):
    """Layer 0 the same in both, layer 1 not; the same text in other ids, rows, and at other row numbers."""
    v, tokens = words(rng), rng.integers(1, 301, (80, 40))
    tokens[:, 0] = 0
    a = {i: lists(rng, neurons=30, k=6, rows=80, length=40) for i in (0, 1)}
    other = lists(rng, neurons=30, k=6, rows=80, length=40)
    index = np.sort(rng.choice(5000, 80, replace=False))
    b = {0: (a[0][0], index[a[0][1]], a[0][2]), 1: (other[0], index[other[1]], other[2])}
    v2, new = reordered(rng, v)
    own = write_store(tmp_path / "own.h5", rng, vocabulary=v, tokens=tokens, layers=a)
    theirs = write_store(
        tmp_path / "theirs.h5", rng, vocabulary=v2, tokens=new[tokens], layers=b, index=index, rows=100,
    )  # fmt: skip
    return own, theirs


def test_figures_against_slow_twins(pair):
    c = quiet(*pair)
    for one in c.layers:
        with Store(pair[0]) as own, Store(pair[1]) as theirs:
            both = [store.example_lists(one.layer) for store in (own, theirs)]
            texts = [store.vocabulary for store in (own, theirs)]
            rows = [b"".join(own.vocabulary.tokens[t] for t in row[1:]) for row in own.iter_rows()]
            n = one.neurons
            for i in range(30):
                mine, yours = (
                    list(dict.fromkeys(v.str_tokens([e.tokens[e.peak]])[0] for e in side[i]))
                    for v, side in zip(texts, both, strict=True)
                )
                union = set(mine) | set(yours)
                assert n.jaccard[i] == pytest.approx(len(set(mine) & set(yours)) / len(union))
                assert one.own_tokens[i] == tuple(mine[:5])
                assert one.their_tokens[i] == tuple(yours[:5])
                held = [rows[e.row] for e in both[0][i]]
                around = [
                    b"".join(texts[1].tokens[t] for t in e.tokens[max(e.peak - 1, 0) : e.peak + 1])
                    for e in both[1][i]
                    if e.position > 3
                ]
                least = sum(any(text in row for row in held) for text in around)
                assert n.shared[i] <= n.contained[i] <= n.known[i] <= n.their_examples[i] == 6
                assert n.shared[i] <= least + sum(e.position <= 3 for e in both[1][i])
        assert one.figures.spearman == pytest.approx(stats.spearmanr(n.own, n.theirs)[0])
        np.testing.assert_array_equal(n.agreement, n.rbo)
    first, second = (one.figures for one in c.layers)
    assert first.jaccard == pytest.approx(1)
    assert first.rbo == pytest.approx(1)
    assert first.rbo_null < 0.3
    assert second.rbo < 0.3
    assert first.contained == first.shared == second.contained == 1
    assert first.shared_null < 0.3
    assert second.shared < 0.4
    assert first.ratio == pytest.approx(1)
    assert c.overall.neurons == 60


def test_what_is_expected_comes_from_the_larger_corpus(pair):
    one = quiet(*pair).layers[1]
    with Store(pair[1]) as theirs:
        top = theirs.top(1, "largest").activation.astype(np.float64)
    wanted = expected_maximum(top, rows=100, wanted=80) / one.neurons.theirs
    np.testing.assert_allclose(one.neurons.ratio_expected, wanted)
    turned = quiet(pair[1], pair[0]).layers[1]
    np.testing.assert_allclose(turned.neurons.ratio_expected, 1 / wanted)
    said = quiet(*pair, their_rows=80).layers[1]
    np.testing.assert_allclose(said.neurons.ratio_expected, 1)


def test_neurons_come_least_agreeing_first_and_json_is_strict(pair):
    c = quiet(*pair)
    found = json.loads(comparison_json(c), parse_constant=lambda name: pytest.fail(name))
    keys = [one["agreement"] for one in found["neurons"]]
    assert keys == sorted(keys)
    assert len(keys) == 60
    assert found["layers"][0]["layer"] == 0
    assert found["theirs"]["least_rows"] > 80
    assert set(found) == {"own", "theirs", "notes", "overall", "layers", "neurons"}


def test_terminal_is_golden(tmp_path, monkeypatch):
    rng = np.random.default_rng(4)
    monkeypatch.chdir(tmp_path)
    v, tokens = words(rng, 60), rng.integers(1, 61, (40, 30))
    a = {i: lists(rng, neurons=12, k=4, rows=40, length=30) for i in (0, 1)}
    b = {i: lists(rng, neurons=12, k=4, rows=40, length=30) for i in (0, 1)}
    b[0] = a[0]
    write_store(Path("own.h5"), rng, vocabulary=v, tokens=tokens, layers=a)
    write_store(Path("theirs.h5"), rng, vocabulary=v, tokens=tokens, layers=b, rows=90, subject={"sha256": "c" * 64})
    said, out = [], io.StringIO()
    c = compare(Path("own.h5"), Path("theirs.h5"), say=said.append, bar=False)
    for width in (80, 130):
        print_comparison(c, out=out, limit=4, width=width)
    path = GOLDEN / "compare.txt"

    if os.environ.get("NEUROLOCAL_GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join([*said, out.getvalue()]), encoding="utf-8")
    assert "\n".join([*said, out.getvalue()]) == path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def random_weights(tmp_path_factory):
    """Stores of the two lists' shapes with random weights."""
    rng, folder = np.random.default_rng(11), tmp_path_factory.mktemp("random")
    return {
        width: random_store(folder / f"{width}.h5", rng, layers=6, width=width, subject={"d_mlp": [width] * 6})
        for width in (2048, 3072)
    }


@pytest.mark.parametrize(("name", "width", "doubted"), [("pythia-70m", 2048, 0), ("solu-6l-pile", 3072, 7)])
def test_real_lists_against_random_weights_themselves_and_permuted(
    fixtures, tmp_path, rng, random_weights, name, width, doubted
):
    path = fixtures / "neuroscope" / "max-activations" / f"{name}.json"
    values = [np.array(layer) for layer in json.loads(path.read_text())]
    c = quiet(random_weights[width], path)
    assert c.overall.low < 0 < c.overall.high or abs(c.overall.spearman) < 0.04
    assert abs(c.overall.spearman) < 0.05
    assert c.notes[0].startswith("maxima do not follow each other (Spearman ")
    assert "other weights, another site, or neurons in another order" in c.notes[0]
    assert c.overall.unknown == doubted
    assert np.isnan(c.overall.rbo)
    assert np.isnan(c.overall.contained)

    same = quiet(path, path)
    assert same.overall.spearman == same.overall.same_values == same.overall.in_place == 1
    assert same.notes[0].startswith("the maxima are the same, neuron by neuron")

    orders = [rng.permutation(width) for _ in values]
    moved = listed(tmp_path / "moved.json", [layer[order] for layer, order in zip(values, orders, strict=True)])
    permuted = quiet(path, moved)
    assert abs(permuted.overall.spearman) < 0.05
    assert permuted.overall.same_values > 0.99
    assert permuted.notes[0] == "layers 0, 1, 2, 3, 4, 5: the same maxima in another order: the neurons are permuted"
    assert permuted.notes[1].startswith("maxima do not follow each other")

    again = listed(tmp_path / "again.json", [layer[order] for layer, order in zip(values, orders, strict=True)])
    assert quiet(moved, again).overall.spearman == 1


def test_untrusted_entries_are_left_out_and_counted(rng, tmp_path):
    values = rng.random((2, 50))
    other = values.copy()
    other[1, 10:12] = other[1, 9]
    c = quiet(listed(tmp_path / "a.json", values), listed(tmp_path / "b.json", other))
    assert c.overall.unknown == 2
    assert c.layers[1].figures.unknown == 2
    assert c.overall.spearman == 1
    assert np.isnan(c.layers[1].neurons.agreement[[10, 11]]).all()
    assert "2 of 100 neurons have a maximum that is unknown or not to be trusted" in c.notes[-1]
    last = json.loads(comparison_json(c))["neurons"][-2:]
    assert [(one["layer"], one["neuron"], one["agreement"]) for one in last] == [(1, 10, None), (1, 11, None)]
    assert last[0]["known"] is None


def test_only_neurons_in_common_are_compared(rng, tmp_path):
    v, tokens = words(rng, 50), rng.integers(1, 51, (40, 20))
    more = {"vocabulary": v, "tokens": tokens, "subject": {"d_mlp": [9], "n_layers": 1}}
    made = lists(rng, neurons=9, k=3, rows=40, length=20)
    some = np.array([1, 4, 7])
    own = write_store(tmp_path / "a.h5", rng, layers={0: tuple(x[some] for x in made)}, neurons=[1, 4, 7], **more)
    theirs = write_store(tmp_path / "b.h5", rng, layers={0: tuple(x[[4, 5]] for x in made)}, neurons=[4, 5], **more)
    c = quiet(own, theirs)
    assert c.layers[0].neurons.neuron.tolist() == [4]
    assert c.layers[0].neurons.rbo.tolist() == [pytest.approx(1)]
    assert np.isnan(c.layers[0].neurons.rbo_null).all()
    assert c.layers[0].figures.ratio == pytest.approx(1)
    nothing = write_store(tmp_path / "c.h5", rng, layers={0: tuple(x[[5]] for x in made)}, neurons=[5], **more)
    with pytest.raises(StoreError, match="no neuron in common"):
        quiet(own, nothing)
    whole = listed(tmp_path / "m.json", [made[0][:, 0]])
    assert quiet(own, whole).overall.neurons == 3
    with pytest.raises(StoreError, match="9 neurons in the one and 8 in the other"):
        quiet(own, listed(tmp_path / "n.json", [made[0][:8, 0]]))


def test_what_is_not_of_one_model_is_refused(rng, tmp_path):
    a = random_store(tmp_path / "a.h5", rng, layers=2, width=5)
    wide = random_store(tmp_path / "b.h5", rng, layers=2, width=6)
    deep = random_store(tmp_path / "c.h5", rng, layers=3, width=5)
    with pytest.raises(StoreError, match="layer 0 has 5 neurons in the one and 6 in the other"):
        quiet(a, wide)
    with pytest.raises(StoreError, match="2 layers, the other 3"):
        quiet(a, deep)
    with pytest.raises(StoreError, match="3 layers, the other 2"):
        quiet(a, listed(tmp_path / "m.json", rng.random((3, 5))))
    with pytest.raises(StoreError, match="do not have layer 1 in common"):
        quiet(a, listed(tmp_path / "n.json", rng.random((1, 5))), layers=[0, 1])
    with pytest.raises(StoreError, match="no such file"):
        quiet(a, tmp_path / "none.json")
    assert len(quiet(a, listed(tmp_path / "n.json", rng.random((1, 5)))).layers) == 1


def test_differences_are_said(rng, tmp_path):
    a = random_store(tmp_path / "a.h5", rng, layers=1, width=5, subject={"sha256": "1" * 64})
    b = random_store(
        tmp_path / "b.h5", rng, layers=1, width=5, subject={"sha256": "2" * 64}, site="mid", complete=False, rows=70
    )
    c = quiet(a, b)
    said = "\n".join(c.notes)
    assert "the weights differ (SHA-256 11111111… and 22222222…)" in said
    assert "the sites differ: post and mid" in said
    assert "their store is a checkpoint" in said
    assert "is expected of 40 rows against 70" in said
    unknown = random_store(tmp_path / "d.h5", rng, layers=1, width=5, subject={"sha256": None})
    notes = quiet(a, unknown).notes
    assert "the same weights" not in notes
    assert not any(note.startswith("the weights differ") for note in notes)


def test_an_imported_store_does_not_say_how_many_rows_there_are(pair, rng, tmp_path):
    index = np.sort(rng.choice(9000, 40, replace=False))
    made = lists(rng, neurons=5, k=2, rows=40, length=20)
    v, tokens = words(rng, 50), rng.integers(1, 51, (40, 20))
    own = write_store(tmp_path / "a.h5", rng, vocabulary=v, tokens=tokens, layers={0: made})
    theirs = write_store(
        tmp_path / "b.h5", rng, vocabulary=v, tokens=tokens, layers={0: (made[0], index[made[1]], made[2])},
        index=index, source={"kind": "pages"},
    )  # fmt: skip
    with Store(theirs) as opened:
        assert opened.imported
    c = quiet(own, theirs)
    assert c.theirs.rows is None
    assert c.theirs.kind == "imported"
    assert f"their number of rows is (at least {index[-1] + 1:,}). Give --their-rows." in c.notes[1]
    assert np.isnan(c.overall.ratio_expected)
    assert "is expected of 40 rows against 50" in quiet(own, theirs, their_rows=50).notes[1]
    far = quiet(own, theirs, their_rows=10**9)
    assert np.isnan(far.overall.ratio_expected)
    assert "of 40 rows against 1,000,000,000 cannot be said so far beyond the examples" in far.notes[1]


def test_damaged_lists_are_refused(rng, tmp_path):
    v, tokens = words(rng, 50), rng.integers(1, 51, (40, 20))
    made = lists(rng, neurons=5, k=2, rows=40, length=20)
    good = write_store(tmp_path / "a.h5", rng, vocabulary=v, tokens=tokens, layers={0: made})
    away = write_store(
        tmp_path / "b.h5", rng, vocabulary=v, tokens=tokens, layers={0: (made[0], made[1] + 2**50, made[2])},
        complete=False,
    )  # fmt: skip
    behind = write_store(
        tmp_path / "c.h5", rng, vocabulary=v, tokens=tokens, layers={0: (made[0], made[1], made[2] + 2**30)},
        complete=False,
    )  # fmt: skip
    for bad in (away, behind):
        for pair in ((good, bad), (bad, good)):
            with pytest.raises(StoreError, match="The file is damaged"):
                quiet(*pair)


def test_spearman_and_its_interval(rng):
    covered = 0
    for _ in range(200):
        x = rng.normal(size=200)
        y = 0.5 * x + rng.normal(size=200)
        rho, p, low, high = spearman(x, y)
        assert low < rho < high
        assert (rho, p) == (pytest.approx(stats.spearmanr(x, y)[0]), pytest.approx(stats.spearmanr(x, y)[1]))
        true = 6 / np.pi * np.arcsin(0.5 / np.sqrt(1.25) / 2)
        covered += low <= true <= high
    assert covered >= 174  # 95 % of 200 is 190; 174 is five standard deviations below
    assert all(np.isnan(value) for value in spearman(np.ones(9), rng.random(9)))
    assert all(np.isnan(value) for value in spearman(np.arange(3.0), np.arange(3.0)))


def test_the_overall_correlation_is_not_won_by_one_layer(rng, tmp_path):
    values = rng.random((4, 200))
    other = rng.random((4, 200))
    other[0] = values[0]
    c = quiet(listed(tmp_path / "a.json", values), listed(tmp_path / "b.json", other))
    assert c.layers[0].figures.spearman == 1
    assert c.overall.spearman == pytest.approx(np.mean([one.figures.spearman for one in c.layers]))


@pytest.mark.slow
def test_two_runs_of_one_model(fixtures, tmp_path):
    """stories260k in float32 and in bfloat16, and on other text."""
    from small_run import TEXT

    from neurolocal.config import CollectConfig
    from neurolocal.pipeline.collect import Collection, collect_store
    from neurolocal.subject import load_subject

    corpora = {"one": TEXT.splitlines(), "other": [line[::-1] for line in TEXT.splitlines()]}
    for name, lines in corpora.items():
        text = "\n".join(json.dumps({"text": f"{line} {i} {line}"}) for i in range(8) for line in lines)
        (tmp_path / f"{name}.jsonl").write_text(text)
    made = {}
    for name, corpus, dtype in (("a", "one", "float32"), ("b", "one", "bfloat16"), ("c", "other", "float32")):
        subject = load_subject(str(fixtures / "stories260k"), dtype=dtype)
        config = CollectConfig(
            row_length=32, k=5, before=6, after=3, batch_size=4, layers=(1,), sample=0, logits=0, dtype=dtype
        )
        made[name] = tmp_path / f"{name}.h5"
        job = Collection(subject, tmp_path / f"{corpus}.jsonl", made[name], config)
        collect_store(job, say=lambda line: None, stop=lambda: False, bar=False)
    halves = quiet(made["a"], made["b"])
    assert halves.overall.spearman > 0.98
    assert halves.overall.rbo > 0.7 > 0.5 > halves.overall.rbo_null
    assert halves.overall.contained > 0.99
    assert halves.overall.shared > 0.7
    assert "the same rows of text" in halves.notes
    assert "computed in float32 and in bfloat16" in halves.notes
    apart = quiet(made["a"], made["c"])
    assert apart.overall.rbo < halves.overall.rbo
    assert apart.overall.contained < 0.2
    assert quiet(made["a"], made["a"]).overall.rbo == pytest.approx(1)


def test_the_same_few_values_are_no_permutation(rng, tmp_path):
    values = rng.choice([0.0, 0.1, 0.2], 400)
    c = quiet(listed(tmp_path / "a.json", [values]), listed(tmp_path / "b.json", [rng.permutation(values)]))
    assert not any("permuted" in note for note in c.notes)
    apart = quiet(listed(tmp_path / "a.json", [rng.random(400)]), listed(tmp_path / "b.json", [rng.random(400)]))
    assert not any("permuted" in note for note in apart.notes)
    assert apart.overall.same_values < 0.3


def test_a_layer_that_does_not_follow_is_named(rng, tmp_path):
    values = rng.random((4, 2000))
    other = values.copy()
    other[2] = rng.random(2000)
    c = quiet(listed(tmp_path / "a.json", values), listed(tmp_path / "b.json", other))
    assert "not in layer 2, where they do not follow each other" in c.notes
    apart = quiet(listed(tmp_path / "a.json", rng.random((9, 2000))), listed(tmp_path / "b.json", values[[0] * 9]))
    assert not any("not in layer" in note for note in apart.notes)
