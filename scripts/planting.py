"""A copy of SmolLM2 in which neurons of early layers fire on chosen words: the known truth of bench_planted.py.

A neuron's gate row becomes a linear detector, fitted to the MLP's input over running text: near 1 at the chosen words,
near -1/2 elsewhere, every word of a set counting the same. Its in row becomes the direction along which all inputs are
about 1, so the activation follows the detector; in the pairs it is a second detector, so that the neuron fires only
where both do. The out column becomes zero: what is planted in one layer does not disturb the next.
Fitted on the first rows of the corpus in two rounds: the second adds where the first fired and should not have. Whether
a neuron fires as it should is measured on the other rows.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from neurolocal.forms import has_form
from neurolocal.subject import Subject
from neurolocal.words import WORD

SCALE = 8.0
"""Of the gate row: the detector's 0 and 1 become 0 and 8, where SiLU is nearly straight."""

LEAST = 3
"""Occurrences of a word of a set, at least."""

OFTEN = 40
"""Occurrences of a word that is planted alone, at least: its list of examples must be filled."""

HARD = 256
"""Places where a detector fires wrongly that the second round learns from, at most, the worst of each row."""

SETS = Path(__file__).parent / "planted.toml"


@dataclass(frozen=True)
class Plant:
    """One neuron to be rewritten."""

    name: str
    kind: str
    """`concept`, `random`, `spare` (random, for calibration only), `token`, `form`, `after`, `pair`."""
    final: bool
    """Whether it belongs to the half that is opened once at the end."""
    tokens: frozenset[int] = frozenset()
    """Token ids that it fires on; empty: any word."""
    before: int | None = None
    """Token id that must stand before; None: none need."""
    layer: int = -1
    neuron: int = -1
    form: str = ""
    """The form that the words share, as `neurolocal.forms` names it; empty: none."""
    blind: frozenset[int] = field(default=frozenset(), repr=False)
    """Token ids that count as neither hit nor miss: other spellings of its words, parts of words of its form."""
    blind_before: frozenset[int] = field(default=frozenset(), repr=False)
    """Other spellings of the token before."""

    @property
    def truth(self) -> str:
        """The verdict that it should get."""
        verdicts = {"random": "unclear", "spare": "unclear", "after": "context", "pair": "context"}
        return verdicts.get(self.kind, self.kind)


class Words(NamedTuple):
    """The corpus's tokens that are whole words with a space before them."""

    text: dict[int, str]
    """By token id, without the space."""
    counts: dict[int, int]
    """Occurrences as a whole word: the next token begins no letters."""


def whole_words(subject: Subject, rows: np.ndarray) -> Words:
    """Which tokens stand for whole words, and how often."""
    vocabulary = subject.vocabulary
    texts = [t.decode("utf-8", "replace") for t in vocabulary.tokens]
    spaced = {i: t[1:] for i, t in enumerate(texts) if t[:1] == " " and WORD.fullmatch(t[1:])}
    goes_on = np.array([t[:1].isalpha() or t[:1] in "'’" for t in texts])
    whole = ~goes_on[rows[:, 1:]]
    counts = np.bincount(rows[:, :-1][whole], minlength=len(texts))
    return Words(spaced, {i: int(counts[i]) for i in spaced if counts[i]})


def plants(words: Words, *, spare: int, seed: int) -> list[Plant]:
    """Every neuron to be planted, without its place; within a kind every second by name is of the final half."""
    rng = np.random.default_rng(seed)
    sets = tomllib.loads(SETS.read_text(encoding="utf-8"))
    of = {words.text[i]: i for i, n in words.counts.items() if n >= LEAST}
    concepts = {name: [of[w] for w in text.split() if w in of] for name, text in sets["concepts"].items()}
    concepts = {name: ids for name, ids in sorted(concepts.items()) if len(ids) >= 8}
    made = [Plant(name, "concept", i % 2 == 1, frozenset(ids)) for i, (name, ids) in enumerate(concepts.items())]
    ranked = sorted(of.values(), key=lambda i: (words.counts[i], i))
    place = {token: i for i, token in enumerate(ranked)}
    made += [
        Plant(f"random for {p.name}", "random", p.final, _matched(p.tokens, ranked, place, rng)) for p in made
    ]  # fmt: skip
    shapes = list(concepts.values())
    made += [
        Plant(f"spare {i}", "spare", i % 2 == 1, _matched(frozenset(shapes[i % len(shapes)]), ranked, place, rng))
        for i in range(spare)
    ]
    made += [
        Plant(w, "token", i % 2 == 1, frozenset([of[w]]))
        for i, w in enumerate(
            w for w in sorted(set(sets["tokens"]["words"].split())) if w in of and words.counts[of[w]] >= OFTEN
        )
    ]
    for i, (name, rule) in enumerate(sorted(sets["forms"].items())):
        ((kind, value),) = rule.items()
        own = frozenset(t for w, t in of.items() if has_form(w, f"{kind} {value}"))
        made.append(Plant(name, "form", i % 2 == 1, own, form=f"{kind} {value}"))
    after = [w for w in sorted(sets["contexts"]["after"].split()) if w in of]
    made += [Plant(f"after {w}", "after", i % 2 == 1, before=of[w]) for i, w in enumerate(after)]
    pairs = [[w.strip() for w in p.split("|")] for p in sorted(sets["contexts"]["pairs"])]
    made += [
        Plant(f"{a} {b}", "pair", i % 2 == 1, frozenset([of[b]]), of[a])
        for i, (a, b) in enumerate((a, b) for a, b in pairs if a in of and b in of)
    ]
    return made


def _matched(
    tokens: frozenset[int], ranked: Sequence[int], place: dict[int, int], rng: np.random.Generator
) -> frozenset[int]:
    """As many other words, each about as frequent: at most 15 places away in the order of frequency, or 2 %."""
    chosen: set[int] = set()
    for token in sorted(tokens):
        reach = max(15, len(ranked) // 50)
        near = ranked[max(place[token] - reach, 0) : place[token] + reach + 1]
        free = [t for t in near if t not in tokens and t not in chosen]
        chosen.add(int(rng.choice(free)))
    return frozenset(chosen)


def placed(made: Sequence[Plant], subject: Subject, *, layers: Sequence[int]) -> list[Plant]:
    """The plants dealt out over the layers, kind by kind, a random set into the layer of its concept."""
    texts = [t.decode("utf-8", "replace").strip() for t in subject.vocabulary.tokens]
    spellings: dict[str, set[int]] = {}
    for i, text in enumerate(texts):
        spellings.setdefault(text.casefold(), set()).add(i)

    def others(tokens: Iterable[int]) -> frozenset[int]:
        return frozenset(i for t in tokens for i in spellings[texts[t].casefold()]) - frozenset(tokens)

    count: Counter[str] = Counter()
    free: Counter[int] = Counter()
    found = []
    for p in made:
        layer = layers[count[p.kind + str(p.final)] % len(layers)]
        count[p.kind + str(p.final)] += 1
        alike = frozenset(i for i, t in enumerate(texts) if t and has_form(t, p.form)) - p.tokens if p.form else None
        before = frozenset() if p.before is None else others([p.before])
        blind = others(p.tokens) if alike is None else alike
        found.append(replace(p, layer=layer, neuron=free[layer], blind=blind, blind_before=before))
        free[layer] += 1
    return found


def hits(plant: Plant, rows: np.ndarray, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where it should fire, and where that counts; each of shape (row, pos). `allowed`: tokens that are whole words."""
    own = np.isin(rows, list(plant.tokens)) if plant.tokens else allowed[rows]
    counts = ~np.isin(rows, list(plant.blind))
    counts[:, 0] = False
    if plant.before is not None:
        before, alike = np.zeros_like(own), np.zeros_like(own)
        before[:, 1:] = rows[:, :-1] == plant.before
        alike[:, 1:] = np.isin(rows[:, :-1], list(plant.blind_before))
        own &= before
        counts &= ~alike
        if not plant.tokens:
            counts &= allowed[rows] | ~before
    return own & counts, counts


def inputs(
    subject: Subject, rows: np.ndarray, layers: Sequence[int], *, batch: int = 16
) -> Iterator[tuple[slice, dict[int, torch.Tensor]]]:
    """The input of each layer's MLP, shape (row, pos, d_model), batch by batch."""
    kept: dict[int, torch.Tensor] = {}

    def keep(layer: int) -> Callable[..., None]:
        def hook(module: Any, args: tuple[torch.Tensor, ...]) -> None:
            kept[layer] = args[0].float()

        return hook

    handles = [subject.model.model.layers[i].mlp.register_forward_pre_hook(keep(i)) for i in layers]
    try:
        for begin in range(0, len(rows), batch):
            part = slice(begin, min(begin + batch, len(rows)))
            subject.read(torch.from_numpy(rows[part].astype(np.int64)), {max(layers): lambda x: None})
            yield part, kept
    finally:
        for handle in handles:
            handle.remove()


@dataclass
class Moments:
    """What the detectors of a layer are fitted to."""

    total: torch.Tensor
    """Sum over tokens of the sum of inputs, shape (d_vocab, d_model)."""
    second: torch.Tensor
    """Sum of x x^T over all positions."""
    before: dict[int, tuple[torch.Tensor, torch.Tensor, float]]
    """By token that stands before: weighted sum of x and of x x^T at whole words, and the weights' sum."""


def moments(
    subject: Subject, rows: np.ndarray, layers: Sequence[int], *, firsts: Sequence[int], allowed: np.ndarray
) -> dict[int, Moments]:
    """One pass over the rows. After a given token every distinct word counts the same."""
    from tqdm import tqdm

    d = subject.model.config.hidden_size
    found = {
        i: Moments(
            torch.zeros(subject.d_vocab, d), torch.zeros(d, d),
            {t: (torch.zeros(d), torch.zeros(d, d), 0.0) for t in firsts},
        )
        for i in layers
    }  # fmt: skip
    following = {t: np.bincount(rows[:, 1:][rows[:, :-1] == t], minlength=subject.d_vocab) for t in firsts}
    bar = tqdm(total=len(rows), desc="planting: moments", unit="row")
    for part, kept in inputs(subject, rows, layers):
        ids = torch.from_numpy(rows[part, 1:].astype(np.int64)).reshape(-1)
        previous = rows[part, :-1].reshape(-1)
        for i, x in kept.items():
            flat = x[:, 1:].reshape(-1, d)
            found[i].total.index_add_(0, ids, flat)
            found[i].second += flat.T @ flat
            for t in firsts:
                at = np.flatnonzero((previous == t) & allowed[ids.numpy()])
                if not len(at):
                    continue
                weight = torch.from_numpy(1.0 / following[t][ids.numpy()[at]]).float()
                some = flat[torch.from_numpy(at)]
                mean, second, n = found[i].before[t]
                found[i].before[t] = (
                    mean + weight @ some,
                    second + (some * weight[:, None]).T @ some,
                    n + float(weight.sum()),
                )
        bar.update(part.stop - part.start)
    bar.close()
    return found


class Fitter:
    """Solves for the detectors of one layer."""

    def __init__(self, found: Moments, counts: np.ndarray, *, ridge: float = 1e-3, weight: float = 0.9) -> None:
        seen = np.flatnonzero(counts >= 2)
        self.means = found.total.double() / torch.from_numpy(np.maximum(counts, 1)).double()[:, None]
        types = self.means[torch.from_numpy(seen)]
        n = float(counts.sum())
        # Half of the background is running text, half the distinct tokens: rare ones must stay silent too.
        self.second = found.second.double() / n / 2 + types.T @ types / len(types) / 2
        self.mean = found.total.double().sum(0) / n / 2 + types.mean(0) / 2
        self.second += ridge * self.second.diagonal().mean() * torch.eye(len(self.second), dtype=torch.float64)
        self.before = found.before
        self.weight = weight
        self.none = torch.empty(0, len(self.mean))

    def constant(self) -> torch.Tensor:
        """The direction along which every input is about 1."""
        return torch.linalg.solve(self.second, self.mean)

    def words(self, tokens: Sequence[int], hard: torch.Tensor) -> torch.Tensor:
        """1 at each word's mean input, -1/2 elsewhere and at the hard inputs."""
        own = self.means[torch.tensor(sorted(tokens))]
        return self._solve(own.mean(0), own.T @ own / len(own), hard)

    def after(self, token: int, hard: torch.Tensor) -> torch.Tensor:
        """1 at any word behind the token, -1/2 elsewhere and at the hard inputs."""
        mean, second, n = self.before[token]
        return self._solve(mean.double() / n, second.double() / n, hard)

    def detector(self, plant: Plant, seen: np.ndarray, hard: torch.Tensor) -> torch.Tensor:
        """Of a plant's words, or of what stands before."""
        tokens = [t for t in plant.tokens if seen[t]]
        return self.words(tokens, hard) if tokens else self.after(plant.before or 0, hard)

    def _solve(self, mean: torch.Tensor, second: torch.Tensor, hard: torch.Tensor) -> torch.Tensor:
        a, b = self.weight, 1 - self.weight
        other, others = self.mean, self.second
        if len(hard):
            x = hard.double()
            other, others = (other + x.mean(0)) / 2, (others + x.T @ x / len(x)) / 2
        return torch.linalg.solve(b * others + a * second, a * mean - b * 0.5 * other)


def hard_inputs(
    subject: Subject,
    rows: np.ndarray,
    found: Sequence[Plant],
    detectors: dict[int, torch.Tensor],
    *,
    allowed: np.ndarray,
) -> dict[str, torch.Tensor]:
    """Where each detector fires most and should not: one place a row, the `HARD` worst, above a half."""
    from tqdm import tqdm

    worst: dict[str, list[tuple[float, torch.Tensor]]] = {p.name: [] for p in found}
    of = {layer: [p for p in found if p.layer == layer] for layer in detectors}
    bar = tqdm(total=len(rows), desc="planting: mistakes", unit="row")
    for part, kept in inputs(subject, rows, sorted(detectors)):
        for layer, x in kept.items():
            fired = x @ detectors[layer].float().T
            for i, p in enumerate(of[layer]):
                value = fired[:, :, i].numpy()
                if value.max() < 0.5:
                    continue
                hit, counts = hits(p, rows[part], allowed)
                wrong = np.where(counts & ~hit, value, -1.0)
                at = wrong.argmax(axis=1)
                worst[p.name] += [
                    (float(wrong[r, at[r]]), x[r, at[r]].clone()) for r in range(len(at)) if wrong[r, at[r]] > 0.5
                ]
                if len(worst[p.name]) > 2 * HARD:
                    worst[p.name] = sorted(worst[p.name], key=lambda one: -one[0])[:HARD]
        bar.update(part.stop - part.start)
    bar.close()
    none = torch.empty(0, subject.model.config.hidden_size)
    best = {name: sorted(some, key=lambda one: -one[0])[:HARD] for name, some in worst.items()}
    return {name: torch.stack([x for _, x in some]) if some else none for name, some in best.items()}


def plant_model(
    folder: Path, subject: Subject, found: Sequence[Plant], rows: np.ndarray, *, allowed: np.ndarray
) -> None:
    """Rewrite the neurons and write the model, a Hugging Face folder. The subject given is changed."""
    layers = sorted({p.layer for p in found})
    firsts = sorted({p.before for p in found if p.before is not None})
    all_moments = moments(subject, rows, layers, firsts=firsts, allowed=allowed)
    counts = np.bincount(rows[:, 1:].reshape(-1), minlength=subject.d_vocab)
    fitters = {layer: Fitter(all_moments[layer], counts) for layer in layers}
    hard = {p.name: fitters[p.layer].none for p in found}
    for last in (False, True):
        detectors = {
            layer: torch.stack([f.detector(p, counts >= 2, hard[p.name]) for p in found if p.layer == layer])
            for layer, f in fitters.items()
        }
        if not last:
            # In a pair the gate looks for the word wherever it stands.
            looked = [replace(p, before=None) if p.kind == "pair" else p for p in found]
            hard = hard_inputs(subject, rows, looked, detectors, allowed=allowed)
    for layer, fitter in fitters.items():
        mlp = subject.model.model.layers[layer].mlp
        with torch.no_grad():
            for p, gate in zip((p for p in found if p.layer == layer), detectors[layer], strict=True):
                pair = p.tokens and p.before is not None
                other = fitter.after(p.before, fitter.none) if pair else fitter.constant()
                mlp.gate_proj.weight[p.neuron] = (SCALE * gate).to(mlp.gate_proj.weight.dtype)
                mlp.up_proj.weight[p.neuron] = other.to(mlp.up_proj.weight.dtype)
                mlp.down_proj.weight[:, p.neuron] = 0
    subject.model.save_pretrained(folder)
    subject.tokenizer.save_pretrained(folder)
