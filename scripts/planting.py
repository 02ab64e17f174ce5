"""A copy of SmolLM2 in which neurons of early layers fire on chosen words: the ground truth of bench_planted.py.

A neuron's gate row and its in row become two linear detectors of the chosen words. They are fitted to the neuron's
input over running text, with the target 1 where it should fire, all words of a set with equal weight, and -1/2
elsewhere. The neuron fires where both detectors do. They are fitted in turns: each learns from the positions where both
together were wrong, with lower targets for the words that were strongest, so that no word takes all places among the
examples. The out column becomes zero, so that neurons planted in one layer do not change the next.
The fit uses the first rows of the corpus; firing is measured on the other rows.
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

from neurolocal.subject import Subject
from neurolocal.words import WORD
from neurolocal.words.classes import GRAMMAR as CLOSED
from neurolocal.words.forms import has_form

SCALE = 8.0
"""Factor of the gate row: the detector's 0 and 1 become 0 and 8, between which SiLU is nearly linear."""

CHUNK = 1 << 16
"""Positions computed together."""

LEAST = 3
"""Fewest occurrences of a word of a set."""

OFTEN = 40
"""Fewest occurrences of a word that is planted alone, which must fill the list of examples."""

ROUNDS = 6
"""Turns; in each, one of the two detectors learns from the mistakes of both."""

HARD = 256
"""Most mistakes that a turn adds: the worst one of each row."""

WRONG = 0.3
"""An activation elsewhere is a mistake from this share of the median activation where the neuron should fire."""

SETS = {
    name: Path(__file__).parent / f"planted{'' if name == 'long' else '_' + name}.toml" for name in ("long", "short")
}
"""The files of word sets."""

EXAMPLES = 20
"""Examples of a neuron, as `collect` keeps them."""

HEAVY = 12
"""Of these, those that the first word of a skewed list is to take."""


FUNCTION_WORDS = CLOSED["function words"]
"""Case-folded."""


@dataclass(frozen=True)
class Plant:
    """One neuron to rewrite."""

    name: str
    kind: str
    """`concept`, `random`, `spare` (random, for calibration only), `mixed` (random function words of any class),
    `token`, `form`, `after`, `pair`."""
    final: bool
    """Whether it belongs to the half that is evaluated only once, at the end."""
    tokens: frozenset[int] = frozenset()
    """Token ids that it fires on; empty: any word."""
    before: int | None = None
    """Token id that must come before; None: any."""
    layer: int = -1
    neuron: int = -1
    form: str = ""
    """The form that the words share, as `neurolocal.words.forms` names it; empty: none."""
    blind: frozenset[int] = field(default=frozenset(), repr=False)
    """Token ids that are not evaluated: other spellings of its words, parts of words of its form."""
    first: int | None = None
    """Token id of the word that is to take most of the examples; None: all words alike."""
    blind_before: frozenset[int] = field(default=frozenset(), repr=False)
    """Other spellings of the token before, not evaluated either."""

    @property
    def truth(self) -> str:
        """The correct verdict."""
        verdicts = {"random": "unclear", "spare": "unclear", "mixed": "unclear", "after": "context", "pair": "context"}
        return "grammar" if self.name in GRAMMAR else verdicts.get(self.kind, self.kind)


GRAMMAR = {
    *("pronouns", "prepositions", "wh_words", "modals"),
    *("subjects", "demonstratives", "relatives", "concessions", "negations", "quantities"),
    *("objects", "possessives", "places", "joints", "being", "asking", "each", "degree"),
    *("reflexives", "intensity", "perfect", "others", "amounts", "anybody", "links", "ways", "doing"),
}
"""Concepts whose words are function words."""


class Words(NamedTuple):
    """The tokens of the corpus that are whole words with a space before them."""

    text: dict[int, str]
    """By token id, without the space."""
    counts: dict[int, int]
    """Occurrences as a whole word: the next token does not begin with a letter."""


def whole_words(subject: Subject, rows: np.ndarray) -> Words:
    """The tokens that are whole words, with their counts."""
    vocabulary = subject.vocabulary
    texts = [t.decode("utf-8", "replace") for t in vocabulary.tokens]
    spaced = {i: t[1:] for i, t in enumerate(texts) if t[:1] == " " and WORD.fullmatch(t[1:])}
    goes_on = np.array([t[:1].isalpha() or t[:1] in "'’" for t in texts])
    whole = ~goes_on[rows[:, 1:]]
    counts = np.bincount(rows[:, :-1][whole], minlength=len(texts))
    return Words(spaced, {i: int(counts[i]) for i in spaced if counts[i]})


def plants(words: Words, *, sets: str, spare: int, seed: int) -> list[Plant]:
    """All neurons to plant, without layer and index; `sets` names the file."""
    rng = np.random.default_rng(seed)
    of = {words.text[i]: i for i, n in words.counts.items() if n >= LEAST}
    ranked = sorted(of.values(), key=lambda i: (words.counts[i], i))
    made = []
    for half, some in tomllib.loads(SETS[sets].read_text(encoding="utf-8")).items():
        made += _of_half(half == "final", some, words, of, ranked=ranked, spare=spare // 2, rng=rng)
    return made


def _of_half(
    final: bool, sets: dict[str, Any], words: Words, of: dict[str, int], *, ranked: Sequence[int], spare: int,
    rng: np.random.Generator,
) -> list[Plant]:  # fmt: skip
    place = {token: i for i, token in enumerate(ranked)}
    concepts = dict(sorted(concept_tokens(sets, of).items()))
    skewed = sets.get("skewed", "").split()
    made = [
        Plant(name, "concept", final, frozenset(ids), first=ids[0] if name in skewed else None)
        for name, ids in concepts.items()
    ]
    lists = list(made)
    closed = [i for i in ranked if words.text[i].casefold() in FUNCTION_WORDS]

    def random_set(like: Plant, name: str, kind: str, among: Sequence[int], place: dict[int, int]) -> Plant:
        """A random set of the same size and frequency; its commonest word takes the place of a skewed list's first."""
        tokens = matched(like.tokens, among, place, rng)
        first = None if like.first is None else max(tokens, key=lambda i: (words.counts[i], i))
        return Plant(name, kind, final, tokens, first=first)

    made += [random_set(p, f"random for {p.name}", "random", ranked, place) for p in lists]
    made += [random_set(lists[i % len(lists)], f"spare {final:d} {i}", "spare", ranked, place) for i in range(spare)]
    if skewed:
        places = {token: i for i, token in enumerate(closed)}
        made += [
            random_set(p, f"mixed for {p.name}", "mixed", closed, places)
            for p in lists
            if p.name in GRAMMAR and p.tokens <= places.keys()
        ]
    alone = sorted(set(sets.get("tokens", {}).get("words", "").split()))
    made += [
        Plant(f"word {w}", "token", final, frozenset([of[w]]))
        for w in alone
        if w in of and words.counts[of[w]] >= OFTEN
    ]
    for name, rule in sorted(sets.get("forms", {}).items()):
        ((kind, value),) = rule.items()
        own = frozenset(t for w, t in of.items() if has_form(w, f"{kind} {value}"))
        made.append(Plant(name, "form", final, own, form=f"{kind} {value}"))
    contexts = sets.get("contexts", {"after": "", "pairs": []})
    made += [Plant(f"after {w}", "after", final, before=of[w]) for w in sorted(contexts["after"].split()) if w in of]
    pairs = [[w.strip() for w in p.split("|")] for p in sorted(contexts["pairs"])]
    made += [
        Plant(f"{a} {b}", "pair", final, frozenset([of[b]]), of[a]) for a, b in pairs if a in of and b in of
    ]  # fmt: skip
    return made


def concept_tokens(sets: dict[str, Any], of: dict[str, int]) -> dict[str, list[int]]:
    """The token ids of each concept of a half that has 8 words or more (a short list: 3) among those of `of`."""
    found = {name: [of[w] for w in text.split() if w in of] for name, text in sets["concepts"].items()}
    return {name: ids for name, ids in found.items() if len(ids) >= (3 if "skewed" in sets else 8)}


def matched(
    tokens: frozenset[int], ranked: Sequence[int], place: dict[int, int], rng: np.random.Generator
) -> frozenset[int]:
    """As many other words of about the same frequencies: at most 15 places, or 2 %, away in the order of frequency."""
    chosen: set[int] = set()
    for token in sorted(tokens):
        reach = max(15, len(ranked) // 50)
        near = ranked[max(place[token] - reach, 0) : place[token] + reach + 1]
        free = [t for t in near if t not in tokens and t not in chosen]
        chosen.add(int(rng.choice(free)))
    return frozenset(chosen)


def placed(made: Sequence[Plant], subject: Subject, *, layers: Sequence[int]) -> list[Plant]:
    """The plants with layer and index: each kind in turn over the layers, a random set in its concept's layer."""
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


def quotas(plant: Plant) -> dict[int, int]:
    """Examples that each token of a skewed list is to have; empty for other neurons."""
    if plant.first is None:
        return {}
    rest = max(1, (EXAMPLES - HEAVY) // max(1, len(plant.tokens) - 1))
    return {token: HEAVY if token == plant.first else rest for token in sorted(plant.tokens)}


def weakest_due(ids: np.ndarray, rows: np.ndarray, fired: np.ndarray, quota: dict[int, int], *, n: int) -> np.ndarray:
    """By token id below `n`, the activation of its weakest row among the strongest that it is due; 0 where absent.

    Args:
        ids: token id of each position.
        rows: row of each position.
        fired: activation of each position, 0 or more.
        quota: rows that a token is due (fewer where it has fewer); 1 of a token that it lacks.
        n: number of token ids.
    """
    found = np.zeros(n)
    np.maximum.at(found, ids, fired)
    for token, due in quota.items():
        own = ids == token
        best: dict[int, float] = {}
        for row, value in zip(rows[own].tolist(), fired[own].tolist(), strict=True):
            best[row] = max(value, best.get(row, 0.0))
        if best:
            found[token] = sorted(best.values(), reverse=True)[min(due, len(best)) - 1]
    return found


def hits(plant: Plant, rows: np.ndarray, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where it should fire, and which positions are evaluated; each of shape (row, pos). `allowed`: whole words."""
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


class Fitter:
    """Fits the detectors of one layer to inputs in memory, 2 bytes a number."""

    def __init__(self, x: torch.Tensor, rows: np.ndarray, *, ridge: float = 1e-3, weight: float = 0.9) -> None:
        """`x`: the inputs of the rows, shape (row, pos, d_model)."""
        self.x, self.rows, self.weight = x.reshape(-1, x.shape[-1]), rows, weight
        ids = torch.from_numpy(rows.reshape(-1).astype(np.int64))
        d, n_types = self.x.shape[1], int(ids.max()) + 1
        total, count = torch.zeros(n_types, d), torch.bincount(ids, minlength=n_types)
        second = torch.zeros(d, d)
        for begin in range(0, len(ids), CHUNK):
            some = self.x[begin : begin + CHUNK].float()
            total.index_add_(0, ids[begin : begin + CHUNK], some)
            second += some.T @ some
        types = (total / count.clamp(min=1)[:, None])[count >= 2]
        # The background is half running text, half distinct tokens, so that the neuron is silent on rare tokens too.
        self.mean = (total.sum(0) / len(ids) + types.mean(0)).double() / 2
        self.second = (second / len(ids) + types.T @ types / len(types)).double() / 2
        self.second += ridge * self.second.diagonal().mean() * torch.eye(d, dtype=torch.float64)

    def fit(self, found: Sequence[Plant], allowed: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Both detectors of every plant, each of shape (plant, d_model)."""
        from tqdm import tqdm

        where = [hits(p, self.rows, allowed) for p in found]
        places = [np.flatnonzero(hit) for hit, _ in where]
        goals = [np.ones(int(self.rows.max()) + 1) for _ in found]
        positive = [self._moments(at, goal) for at, goal in zip(places, goals, strict=True)]
        pair = [torch.stack([self._solve(*own, [])[0] for own in positive]).float() for _ in range(2)]
        hard: list[list[list[torch.Tensor]]] = [[[] for _ in found] for _ in pair]
        for turn in tqdm(range(ROUNDS), desc="planting: turns"):
            learner = 1 - turn % 2
            wrong = self._mistakes(pair, where, first=turn == 0)
            for i, mistakes in enumerate(wrong):
                quota = quotas(found[i])
                self._balance(goals[i], places[i], pair[0][i], pair[1][i], quota=quota, first=turn == 0)
                hard[learner][i].append(mistakes)
                pair[learner][i] = self._solve(*self._moments(places[i], goals[i]), hard[learner][i])[0].float()
        return pair[0], pair[1]

    def _moments(self, at: np.ndarray, goal: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Goal-weighted mean and second moment of the inputs at these positions, with equal weight for every token."""
        ids = self.rows.reshape(-1)[at]
        weight = torch.from_numpy(1.0 / np.bincount(ids)[ids]).double()
        x = self.x[torch.from_numpy(at)].double()
        aimed = weight * torch.from_numpy(goal[ids]).double()
        return aimed @ x / weight.sum(), (x * weight[:, None]).T @ x / weight.sum()

    def _balance(
        self, goal: np.ndarray, at: np.ndarray, gate: torch.Tensor, into: torch.Tensor, *, quota: dict[int, int],
        first: bool,
    ) -> None:  # fmt: skip
        """Raise the goal of tokens whose strongest positions are weak and lower the others, so that all get examples.

        A token of a skewed list is as strong as the last of the examples that it is to have, or as its strongest row
        allows.
        """
        x = self.x[torch.from_numpy(at)].float()
        fired = (x @ gate).clamp(min=0) * (1.0 if first else x @ into)
        ids = self.rows.reshape(-1)[at]
        strongest = np.maximum(1e-3, weakest_due(ids, at // self.rows.shape[1], fired.numpy(), quota, n=len(goal)))
        seen = np.unique(ids)
        middle = float(np.median(strongest[seen]))
        goal[seen] = np.clip(goal[seen] * (middle / strongest[seen]) ** 0.5, 0.5, 2.0)

    def _solve(
        self, mean: torch.Tensor, second: torch.Tensor, hard: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        a, b = self.weight, 1 - self.weight
        other, others = self.mean, self.second
        places = torch.cat(list(hard)) if hard else torch.empty(0, dtype=torch.long)
        if len(places):
            x = self.x[places].double()
            other, others = (other + x.mean(0)) / 2, (others + x.T @ x / len(x)) / 2
        return torch.linalg.solve(b * others + a * second, a * mean - b * 0.5 * other), places

    def _mistakes(
        self, pair: Sequence[torch.Tensor], where: Sequence[tuple[np.ndarray, np.ndarray]], *, first: bool
    ) -> list[torch.Tensor]:
        """For each plant the positions where it fires most and should not, one a row."""
        n_rows, length = self.rows.shape
        worst = np.full((len(where), n_rows), -1.0, np.float32)
        place = np.zeros((len(where), n_rows), np.int64)
        right: list[list[np.ndarray]] = [[] for _ in where]
        step = max(1, CHUNK // length)
        for begin in range(0, n_rows, step):
            x = self.x[begin * length : (begin + step) * length].float()
            fired = (x @ pair[0].T).clamp(min=0) * (1.0 if first else x @ pair[1].T)
            values = fired.T.reshape(len(where), -1, length).numpy()
            for i, (hit, counts) in enumerate(where):
                part = slice(begin, begin + values.shape[1])
                right[i].append(values[i][hit[part]])
                wrong = np.where(counts[part] & ~hit[part], values[i], -1.0)
                at = wrong.argmax(axis=1)
                worst[i, part] = wrong[np.arange(len(at)), at]
                place[i, part] = at + length * np.arange(begin, begin + len(at))
        found = []
        for i, some in enumerate(right):
            limit = WRONG * max(float(np.median(np.concatenate(some))), 0.1)
            order = np.argsort(-worst[i])[:HARD]
            found.append(torch.from_numpy(place[i, order[worst[i, order] > limit]]))
        return found


def plant_model(
    folder: Path, subject: Subject, found: Sequence[Plant], rows: np.ndarray, *, allowed: np.ndarray
) -> None:
    """Rewrite the neurons and write the model as a Hugging Face folder. This changes `subject`."""
    layers = sorted({p.layer for p in found})
    kept: dict[int, torch.Tensor] = {
        i: torch.empty(*rows.shape, subject.model.config.hidden_size, dtype=torch.float16) for i in layers
    }
    for part, x in inputs(subject, rows, layers):
        for layer, values in x.items():
            kept[layer][part] = values.half()
    for layer in layers:
        own, mlp = [p for p in found if p.layer == layer], subject.model.model.layers[layer].mlp
        fitted = Fitter(kept.pop(layer), rows).fit(own, allowed)
        with torch.no_grad():
            for p, gate, into in zip(own, *fitted, strict=True):
                mlp.gate_proj.weight[p.neuron] = SCALE * gate
                mlp.up_proj.weight[p.neuron] = into
                mlp.down_proj.weight[:, p.neuron] = 0
    subject.model.save_pretrained(folder)
    subject.tokenizer.save(Path(folder))
