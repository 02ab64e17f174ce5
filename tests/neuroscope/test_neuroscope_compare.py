"""Two stores, or a store and a list: the figures against slow loops, and real lists against random weights."""

from __future__ import annotations

import json

import numpy as np
import pytest
from compare_twins import listed, lists, quiet, random_store, words, write_store
from scipy import stats

from neurolocal.errors import StoreError
from neurolocal.neuroscope.compare.comparison_output import comparison_json
from neurolocal.neuroscope.compare.tail import expected_maximum
from neurolocal.store import Store


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


def test_the_expected_ratio_comes_from_the_larger_corpus(pair):
    one = quiet(*pair).layers[1]
    with Store(pair[1]) as theirs:
        top = theirs.top(1, "largest").activation.astype(np.float64)
    wanted = expected_maximum(top, rows=100, wanted=80) / one.neurons.theirs
    np.testing.assert_allclose(one.neurons.ratio_expected, wanted)
    turned = quiet(pair[1], pair[0]).layers[1]
    np.testing.assert_allclose(turned.neurons.ratio_expected, 1 / wanted)
    said = quiet(*pair, their_rows=80).layers[1]
    np.testing.assert_allclose(said.neurons.ratio_expected, 1)


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
