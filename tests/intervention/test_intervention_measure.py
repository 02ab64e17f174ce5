"""Every figure against plain passes one by one, and what planted output weights promote is found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from neurolocal.config import InterventionConfig
from neurolocal.intervention import measure as measure_room
from neurolocal.intervention.collected import Collected
from neurolocal.intervention.measure import measure
from neurolocal.intervention.measured import Block, evidence, joined
from neurolocal.intervention.places import Place, Target
from neurolocal.intervention.result import table
from neurolocal.pipeline.journal import Journal
from neurolocal.subject import Subject
from neurolocal.subject.changed import ChangeableLayer
from neurolocal.subject.logits import LogitLens
from neurolocal.subject.tokenizers import Tokenizer

VOCAB, D_MLP, LAYER, LENGTH = 97, 48, 1, 24
CONFIG = InterventionConfig(examples=3, places=4, controls=3, tokens=6, multiple=2.5)


def tiny(seed: int) -> Subject:
    import transformers

    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        hidden_size=32, intermediate_size=D_MLP, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=VOCAB, max_position_embeddings=64, initializer_range=0.2, architectures=["LlamaForCausalLM"],
    )  # fmt: skip
    model: Any = transformers.LlamaForCausalLM(config).eval().requires_grad_(False)
    return Subject(model, Tokenizer.numbered(VOCAB), name="tiny")


class Case:
    """A tiny subject, some rows, and neurons with examples in them."""

    def __init__(self, rng: np.random.Generator, *, neurons: int = 7) -> None:
        self.subject = tiny(int(rng.integers(2**31)))
        self.rows = {5 * i: rng.integers(0, VOCAB, LENGTH) for i in range(6)}
        indices = list(self.rows)
        self.tested = [
            Target(
                int(n), float(rng.normal(2, 1)), float(rng.normal(0, 0.1)),
                [Place(int(rng.choice(indices)), int(rng.integers(LENGTH))) for _ in range(1 + int(rng.integers(3)))],
            )
            for n in np.sort(rng.choice(D_MLP, neurons, replace=False))
        ]  # fmt: skip
        self.random = [Place(row, int(rng.integers(LENGTH - 1))) for row in indices[:4]]
        self.controls = np.stack([rng.choice(D_MLP, 3, replace=False) for _ in self.tested])

    def run(self, config: InterventionConfig = CONFIG) -> Any:
        lens = LogitLens(self.subject, 1)
        collected = Collected(
            self.tested, [True] * VOCAB, config, direct=lambda neurons: lens.whole(LAYER, neurons)
        )  # fmt: skip
        measured = measure(
            self.tested, self.random, self.controls, ChangeableLayer(self.subject, LAYER).row, self.rows.__getitem__,
            config, d_vocab=VOCAB, take=collected.take,
        )  # fmt: skip
        return measured, table(self.tested, Block(measured, collected.agreement, collected.rows), config)

    @torch.inference_mode()
    def plain(self, place: Place, neuron: int, value: float | None) -> np.ndarray:
        """Log-probabilities after a position, in one plain pass; None changes nothing."""
        out = self.subject.model.model.layers[LAYER].mlp.down_proj

        def change(module, args):
            if value is not None:
                args[0][0, place.position, neuron] = value

        handle = out.register_forward_pre_hook(change)
        ids = torch.from_numpy(self.rows[place.row])[None]
        found = self.subject.model(input_ids=ids).logits[0, place.position].double().log_softmax(-1).numpy()
        handle.remove()
        return found

    def activation(self, place: Place, neuron: int) -> float:
        ids = torch.from_numpy(self.rows[place.row])[None]
        return float(self.subject.activations(ids, LAYER)[0, place.position, neuron])

    def effect(self, place: Place, neuron: int, value: float) -> tuple[float, float, np.ndarray]:
        """Divergence, rise of the loss, changes of log-probability."""
        before, after = self.plain(place, neuron, None), self.plain(place, neuron, value)
        row = self.rows[place.row]
        following = row[place.position + 1] if place.position + 1 < len(row) else None
        loss = np.nan if following is None else before[following] - after[following]
        return float((np.exp(before) * (before - after)).sum()), float(loss), after - before


def test_every_figure_equals_plain_passes(own_cache, rng, monkeypatch) -> None:
    case = Case(rng)
    monkeypatch.setattr(measure_room, "SUMS", 8 * VOCAB * 3)  # three neurons at a time
    measured, found = case.run()
    for i, t in enumerate(case.tested):
        targets = (0.0, t.mean, t.strongest, 2.5 * t.strongest)
        for text, places, against in ((0, t.own, 0), (1, case.random, 3)):
            sums = np.zeros(VOCAB)
            for j, place in enumerate(places):
                for c, value in enumerate(targets):
                    kl, loss, difference = case.effect(place, t.neuron, value)
                    assert measured.kl[text, i, j, c] == pytest.approx(kl, rel=1e-2, abs=1e-5)
                    assert measured.loss[text, i, j, c] == pytest.approx(loss, rel=1e-2, abs=1e-4, nan_ok=True)
                    sums += difference if c == against else 0
                change = targets[against] - case.activation(place, t.neuron)
                for k, other in enumerate(case.controls[i].tolist()):
                    kl, loss, _ = case.effect(place, other, case.activation(place, other) + change)
                    assert measured.control_kl[text, i, j, k] == pytest.approx(kl, rel=1e-2, abs=1e-5)
                    assert measured.control_loss[text, i, j, k] == pytest.approx(loss, rel=1e-2, abs=1e-4, nan_ok=True)
            mean = sums / len(places)
            own = (found.tokens.neuron == t.neuron) & (np.array(found.tokens.change) == ("zero", "x2.5")[text])
            listed = found.tokens.difference[own]
            assert listed == pytest.approx(np.r_[np.sort(mean)[::-1][:6], np.sort(mean)[:6]], abs=1e-3)
            assert mean[found.tokens.token[own]] == pytest.approx(listed, abs=1e-3)
            if text:
                direct = LogitLens(case.subject, 1).whole(LAYER, [t.neuron])[0].numpy()
                assert found.agreement[i] == pytest.approx(stats.pearsonr(mean, direct)[0], abs=1e-3)
                assert found.tokens.direct[own] == pytest.approx(direct[found.tokens.token[own]], abs=1e-4)
        assert found.zero_kl[i] == pytest.approx(np.nanmean(measured.kl[0, i, :, 0]), rel=1e-5)
        assert found.steer_control_kl[i] == pytest.approx(np.nanmean(measured.control_kl[1, i]), rel=1e-5)
    changes = found.changes
    assert len(changes.neuron) == 7 * 2 * 4
    assert changes.change[:4] == ["zero", "mean", "x1", "x2.5"]
    assert np.isfinite(changes.control_kl).sum() == 7 * 2


def test_whole_effects_are_those_of_the_strongest_tokens(own_cache, rng) -> None:
    subject = tiny(int(rng.integers(2**31)))
    lens = LogitLens(subject, 5)
    effects, whole = lens.effects(LAYER), lens.whole(LAYER, range(D_MLP)).numpy()
    promoted = np.take_along_axis(whole, effects.promoted.astype(np.int64), 1)
    assert np.allclose(promoted, effects.promoted_effect, atol=1e-4)
    assert np.allclose(whole.mean(axis=1), 0, atol=1e-5)


def test_planted_output_weights_are_recovered(own_cache) -> None:
    """Neurons whose output is the unembedding of a known token promote it, and do more than random neurons."""
    # A stated seed: of 25 fresh models the ratio below was 1.6 to 3.3, so about 1 in 100,000 is under 1.
    case = Case(rng := np.random.default_rng(1), neurons=40)
    model = case.subject.model
    planted: dict[int, int] = {}
    for t in case.tested[::2]:
        token = int(rng.integers(VOCAB))
        direction = model.lm_head.weight[token]
        model.model.layers[LAYER].mlp.down_proj.weight[:, t.neuron] = 6 * direction / direction.norm()
        planted[t.neuron] = token
    case.tested = [t._replace(strongest=abs(t.strongest) + 1) for t in case.tested]
    _, found = case.run(InterventionConfig(places=4, controls=3, tokens=5, multiple=4.0))
    right = 0
    for neuron, token in planted.items():
        own = (found.tokens.neuron == neuron) & (np.array(found.tokens.change) == "x4")
        right += token in found.tokens.token[own][:5]
    assert right >= 0.9 * len(planted)
    has = np.isin(found.neuron, list(planted))
    assert np.median(found.steer_kl[has] / found.steer_control_kl[has]) > 1


def test_blocks_give_what_one_block_gives(tmp_path) -> None:
    """Blocks that share the random rows, whose evidence was in a journal, against all neurons at once."""
    rng = np.random.default_rng(8)
    case = Case(rng)
    case.tested[1] = case.tested[1]._replace(own=[case.random[0]] * 6)  # more than the other blocks have
    _, whole = case.run()
    changeable, lens = ChangeableLayer(case.subject, LAYER), LogitLens(case.subject, 1)
    ran, found = {}, Journal(tmp_path / "j", {})
    for number, block in enumerate((slice(0, 3), slice(3, 6), slice(6, 7))):
        tested = case.tested[block]
        collected = Collected(tested, [True] * VOCAB, CONFIG, direct=lambda neurons: lens.whole(LAYER, neurons))
        measured = measure(
            tested, case.random, case.controls[block], changeable.row, case.rows.__getitem__, CONFIG,
            d_vocab=VOCAB, take=collected.take, ran=ran,
        )  # fmt: skip
        found.add(number, evidence(Block(measured, collected.agreement, collected.rows)))
    found.close()
    assert set(ran) == {place.row for place in case.random}
    kept = Journal(tmp_path / "j", {}).parts
    parted = table(case.tested, joined([kept[number] for number in range(3)]), CONFIG)
    assert parted.neuron.tolist() == whole.neuron.tolist()
    assert parted.tokens.neuron.tolist() == whole.tokens.neuron.tolist()
    for name in ("zero_kl", "steer_kl", "zero_control_kl", "steer_control_kl", "zero_loss", "agreement"):
        np.testing.assert_allclose(getattr(parted, name), getattr(whole, name), rtol=2e-3, atol=1e-5)
    np.testing.assert_array_equal(parted.changes.places, whole.changes.places)
    np.testing.assert_allclose(parted.changes.kl, whole.changes.kl, rtol=2e-3, atol=1e-5)
