"""Evidence -> verdict and rank: stated rules, top down, each with the figures that decided it.

The first rule that applies to a neuron decides. A q value *counts* at or under `config.level`; *coherent* is a
similarity q that counts; near words *hold* where their perturbation q counts and `config.near` of them keep half of the
activation, more than of random words.

1. `dead`     its largest |activation| lies under `config.dead`, or nothing was ever counted.
2. `form`     `config.shared` of its words share a spelling (its q counts), and that is what it follows: random words so
              spelled keep half in `config.near` of the cases, more than near words, twice as often as random words.
              Words that are not coherent need less: those so spelled fire no less than near ones; of capitals, they
              fire more than the word itself in other capitals. Punctuation, white space and digits are forms whatever
              their vectors say.
3. `context`  random words keep half in `config.half` of the cases: what decides stands around the word, not in it.
4. `concept`  its words are coherent and near words hold.
5. `context`  its words keep half in fewer than `config.elsewhere` of other contexts: by themselves they do not do it.
6. `token`    one word, in any spelling, has `config.repetition` of its examples.
7. `concept`  its words are coherent with a z of `config.strong`, though near words do not hold: a closed list. Where
              perturbation has not been asked about the layer, any coherence will do, and the reason says so; where it
              has, a neuron that it has no figures for (screened out, or no word that can be replaced) is none.
8. `unclear`  the rest; the reason says what was missing.

Invariant: a neuron's verdict depends on its own evidence alone; a figure that is missing or NaN never counts as
evidence. Cost: some 30 us a neuron.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite, isnan, nan
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from neurolocal.config import Method, VerdictConfig
from neurolocal.records import Example, PerturbationTable, SimilarityTable, Statistics, VerdictTable
from neurolocal.words import Vocabulary
from neurolocal.words.forms import characters, spelling


@dataclass(frozen=True)
class Evidence:
    """Everything that is known of one neuron; a figure that was not measured is NaN."""

    words: Mapping[str, int]
    """Peak words, as they stand in the text, with the number of examples."""
    count: int
    """Positions counted."""
    finite: int
    """Of these, with a finite activation."""
    magnitude: float
    """Largest |activation|; 0 where there is none."""
    z: float = nan
    """Coherence of the peak words against random ones."""
    coherence_q: float = nan
    """Its q value over the layer."""
    known: int | None = None
    """Distinct peak words that have a vector; None where similarity has not looked at the neuron."""
    form: str = ""
    """The spelling that the words share most beyond chance, as `neurolocal.words.forms` names it."""
    form_share: float = nan
    """Share of the words that have it."""
    form_q: float = nan
    """Its q value over the layer."""
    half: float = nan
    """Share of neighbours that keep half of the activation."""
    control_half: float = nan
    """The same of the controls."""
    perturbation_q: float = nan
    """q value over the layer of neighbours against controls."""
    form_half: float = nan
    """Share of other capitals and spacings of the word that keep half."""
    spelled_half: float = nan
    """Share of random words with the shared spelling that keep half."""
    elsewhere_half: float = nan
    """Share of other contexts in which the word keeps half."""
    asked: bool = False
    """Whether perturbation has looked at the layer at all."""

    @property
    def tested(self) -> bool:
        """Whether perturbation has all its figures."""
        return isfinite(self.half) and isfinite(self.control_half) and isfinite(self.perturbation_q)


def verdict(
    statistics: Statistics,
    similarity: SimilarityTable | None,
    perturbation: PerturbationTable | None,
    *,
    peaks: Sequence[Mapping[str, int]],
    config: VerdictConfig,
    method: Method = "default",
) -> VerdictTable:
    """The verdict, score and rank of every neuron of a layer, in neuron order.

    `peaks[neuron]` maps a neuron's peak words to their number of examples (see `peak_words`); it may be empty. Tables
    may hold any of the neurons in any order. The score of the default method is

        score = (concept + r) / 2,   r = c (1 + h) / 2
        c = z / (z + config.halfway) of coherence's z,   h = half - control_half   (0 under 0 or unknown)

    with `concept` 1 or 0, so concepts lie in [0.5, 1] and come first; dead neurons have 0. Notebook method
    (`method="notebook"`): of the neurons that similarity kept, average score / the layer's largest; `concept` from
    `config.floor` up.
    """
    assert len(peaks) == len(statistics.maximum), (len(peaks), len(statistics.maximum))
    evidence = gather(statistics, similarity, perturbation, peaks)
    if method == "notebook":
        verdicts, reasons, score = _notebook(evidence, similarity, perturbation, config)
    else:
        decided = [decide(e, config) for e in evidence]
        verdicts, reasons = [v for v, _ in decided], [r for _, r in decided]
        score = np.array([_score(e, v, config) for e, v in zip(evidence, verdicts, strict=True)], dtype=np.float64)
    stored = score.astype(np.float32)
    return VerdictTable(np.arange(len(peaks), dtype=np.int64), verdicts, stored, _ranks(stored), reasons)


def peak_words(examples: Iterable[Example], vocabulary: Vocabulary) -> Counter[str]:
    """The words that a neuron's examples peak on, as they stand in the text, with their number of examples."""
    return Counter(vocabulary.word_at(e.tokens, e.peak).text for e in examples)


def made_of(words: Mapping[str, int], share: float) -> str | None:
    """What at least that share of the examples peaks on, where it is not letters, in words; None where nothing."""
    total = sum(words.values())
    for kind, name in (("space", "white space"), ("symbols", "punctuation"), ("digits", "digits")):
        n = sum(count for word, count in words.items() if characters(word) == kind)
        if len(words) > 1 and n >= share * total:
            return f"{name} in {n} of {total} examples"
    return None


def gather(
    statistics: Statistics,
    similarity: SimilarityTable | None,
    perturbation: PerturbationTable | None,
    peaks: Sequence[Mapping[str, int]],
) -> list[Evidence]:
    """What is known of each neuron of a layer; arguments as of `verdict`."""
    finite = statistics.count - statistics.nonfinite
    magnitude = np.maximum(np.abs(statistics.minimum), np.abs(statistics.maximum)).astype(np.float64)
    magnitude = np.where(finite > 0, magnitude, 0.0)
    of_similarity = _rows(similarity)
    of_perturbation = _rows(perturbation)
    gathered = []
    for neuron, words in enumerate(peaks):
        figures: dict[str, Any] = {}
        if similarity is not None and (i := of_similarity.get(neuron)) is not None:
            figures = {name: float(getattr(similarity, column)[i]) for name, column in _OF_SIMILARITY.items()}
            figures |= {"known": int(similarity.n_known[i]), "form": similarity.form[i]}
        if perturbation is not None and (i := of_perturbation.get(neuron)) is not None:
            figures |= {name: float(getattr(perturbation, column)[i]) for name, column in _OF_PERTURBATION.items()}
        n, asked = int(finite[neuron]), perturbation is not None
        gathered.append(Evidence(words, statistics.count, n, float(magnitude[neuron]), asked=asked, **figures))
    return gathered


_OF_SIMILARITY = {"z": "z", "coherence_q": "q", "form_share": "form_share", "form_q": "form_q"}
_OF_PERTURBATION = {
    "perturbation_q": "q",
    **{name: name for name in ("half", "control_half", "form_half", "spelled_half", "elsewhere_half")},
}


def _rows(table: SimilarityTable | PerturbationTable | None) -> dict[int, int]:
    return {} if table is None else {int(neuron): i for i, neuron in enumerate(table.neuron)}


def decide(e: Evidence, config: VerdictConfig) -> tuple[str, str]:
    """The verdict of one neuron, and the figures that decided it."""
    for name, rule in _RULES:
        reason = rule(e, config)
        if reason is not None:
            return name, reason
    return "unclear", _unclear(e)


def _dead(e: Evidence, config: VerdictConfig) -> str | None:
    if e.finite == 0:
        return None if e.count else "no position was counted"
    if e.magnitude >= config.dead:
        return None
    return f"largest |activation| {e.magnitude:.2g} over {e.finite:,} positions, under {config.dead:g}"


def _form(e: Evidence, config: VerdictConfig) -> str | None:
    made = made_of(e.words, config.shared)
    if made is not None:
        return None if _any_word(e, config) else f"{_words(e)}, {made}, {_coherence(e)}{_and_reach(e)}"
    if not (e.form_q <= config.level and e.form_share >= config.shared and _follows_form(e, config)):
        return None
    shared = f"{_percent(e.form_share)} of them {_quote(e.form)} (q = {e.form_q:.2g})"
    said = "" if isnan(e.spelled_half) else f", others so spelled {_percent(e.spelled_half)}"
    return f"{_words(e)}, {shared}, {_coherence(e)}{_and_reach(e)}{said}"


def _follows_form(e: Evidence, config: VerdictConfig) -> bool:
    """Whether the activation follows the spelling; not measured counts as no evidence against it."""
    near = 0.0 if isnan(e.half) else e.half
    random = 0.0 if isnan(e.control_half) else e.control_half
    if isnan(e.spelled_half):
        return not _coherent(e, config) and not _any_word(e, config)
    if e.form.startswith("capital"):
        return not _coherent(e, config) and e.form_half < max(e.spelled_half, near)
    if e.spelled_half >= config.near and e.spelled_half > near and e.spelled_half > 2 * random:
        return True
    return not _coherent(e, config) and e.spelled_half >= max(near, random)


def _any_word_will_do(e: Evidence, config: VerdictConfig) -> str | None:
    if not _any_word(e, config):
        return None
    return f"any word will do: neighbours hold {_percent(e.half)}, controls {_percent(e.control_half)}, {_words(e)}"


def _token(e: Evidence, config: VerdictConfig) -> str | None:
    said = _one_word(e, config)
    return None if said is None else f"{said}{_and_reach(e)}{_and_elsewhere(e)}"


def _one_word(e: Evidence, config: VerdictConfig) -> str | None:
    total = sum(e.words.values())
    if not total:
        return None
    families: Counter[str] = Counter()
    for word, count in e.words.items():
        families[spelling(word)] += count
    stem, n = min(families.items(), key=lambda item: (-item[1], item[0]))
    if n < config.repetition * total:
        return None
    spellings = sum(1 for word in e.words if spelling(word) == stem)
    kinds = f", in {spellings} spellings" if spellings > 1 else ""
    return f"{_quote(stem)} in {n} of {total} examples{kinds}"


def _context(e: Evidence, config: VerdictConfig) -> str | None:
    if not _only_here(e, config):
        return None
    said = _one_word(e, config) or _words(e)
    return f"{said}, but not by itself{_and_elsewhere(e)}{_and_reach(e)}"


def _concept(e: Evidence, config: VerdictConfig) -> str | None:
    if not (_coherent(e, config) and e.tested and _near_words_hold(e, config)):
        return None
    return f"{_words(e)}, {_coherence(e)}{_and_reach(e)}"


def _coherent_words(e: Evidence, config: VerdictConfig) -> str | None:
    if not _coherent(e, config):
        return None
    said = f"{_words(e)}, {_coherence(e)}"
    if not e.asked:
        return f"{said}; by similarity alone, perturbation has not been asked"
    return f"{said}{_and_reach(e)}: a closed list" if e.tested and e.z >= config.strong else None


_RULES: tuple[tuple[str, Callable[[Evidence, VerdictConfig], str | None]], ...] = (
    ("dead", _dead),
    ("form", _form),
    ("context", _any_word_will_do),
    ("concept", _concept),
    ("context", _context),
    ("token", _token),
    ("concept", _coherent_words),
)


def _unclear(e: Evidence) -> str:
    if not e.finite:
        return f"activation NaN or infinite at all {e.count:,} positions"
    if not e.words:
        return "no examples"
    why = "perturbation has no figures for it" if e.asked else "perturbation has not been asked"
    return f"{_words(e)}, {_coherence(e)}" + (_and_reach(e) or f"; {why}")


def _coherent(e: Evidence, config: VerdictConfig) -> bool:
    return e.coherence_q <= config.level and not e.z <= 0


def _near_words_hold(e: Evidence, config: VerdictConfig) -> bool:
    return e.perturbation_q <= config.level and e.half >= config.near and e.half > e.control_half


def _any_word(e: Evidence, config: VerdictConfig) -> bool:
    return e.control_half >= config.half


def _only_here(e: Evidence, config: VerdictConfig) -> bool:
    return e.elsewhere_half < config.elsewhere


def _words(e: Evidence) -> str:
    n = len({spelling(w) for w in e.words})
    return f"{n} distinct word{'' if n == 1 else 's'}"


def _coherence(e: Evidence) -> str:
    if e.known is None:
        return "coherence not measured"
    if isnan(e.z) and isnan(e.coherence_q):
        return f"coherence unknown ({e.known} with a vector)"
    figures = [] if isnan(e.z) else [f"z = {e.z:.1f}"]
    if not isnan(e.coherence_q):
        figures.append(f"(q = {e.coherence_q:.2g})" if figures else f"q = {e.coherence_q:.2g}")
    return f"coherence {' '.join(figures)}"


def _and_reach(e: Evidence) -> str:
    if isnan(e.half):
        return ""
    q = "" if isnan(e.perturbation_q) else f" (q = {e.perturbation_q:.2g})"
    return f", neighbours hold {_percent(e.half)}, controls {_percent(e.control_half)}{q}"


def _and_elsewhere(e: Evidence) -> str:
    return "" if isnan(e.elsewhere_half) else f", held in {_percent(e.elsewhere_half)} of other contexts"


def _quote(text: str) -> str:
    """The text in quotation marks, on one line and short, whatever the corpus held."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:40])
    return f"“{shown}{'…' if len(text) > 40 else ''}”"


def _percent(share: float) -> str:
    return "unknown" if isnan(share) else f"{100 * share:.0f} %"


def _score(e: Evidence, name: str, config: VerdictConfig) -> float:
    if name == "dead":
        return 0.0
    z = max(e.z, 0.0) if not isnan(e.z) else 0.0
    c = 1.0 if z == inf else z / (z + config.halfway)
    h = e.half - e.control_half
    r = c * (1.0 + (0.0 if isnan(h) else min(max(h, 0.0), 1.0))) / 2
    return (1 + r) / 2 if name == "concept" else min(r, 0.999) / 2


def _ranks(score: np.ndarray) -> Int64[np.ndarray, "n"]:
    """Each neuron's place by falling score, ties by lower neuron."""
    ranks = np.empty(len(score), dtype=np.int64)
    ranks[np.argsort(-score, kind="stable")] = np.arange(len(score))
    return ranks


def _notebook(
    evidence: list[Evidence],
    similarity: SimilarityTable | None,
    perturbation: PerturbationTable | None,
    config: VerdictConfig,
) -> tuple[list[str], list[str], Float64[np.ndarray, "n"]]:
    """The notebook's ranking: kept neurons by average score over the layer's largest; 0 for all others."""
    average = np.full(len(evidence), nan)
    kept = np.zeros(len(evidence), dtype=bool)
    if similarity is not None:
        kept[similarity.neuron] = similarity.kept
    if perturbation is not None:
        average[perturbation.neuron] = perturbation.score
    ranked = kept & np.isfinite(average)
    largest = float(average[ranked].max()) if ranked.any() else nan
    share = np.where(ranked & (largest > 0), average / largest, 0.0).clip(0.0, 1.0)
    verdicts, reasons = [], []
    for i, e in enumerate(evidence):
        dead = _dead(e, config)
        if dead is not None or not ranked[i]:
            share[i] = 0.0
        verdicts.append(
            "dead" if dead is not None else "concept" if ranked[i] and share[i] >= config.floor else "unclear"
        )
        if dead is not None:
            reasons.append(dead)
        elif not kept[i]:
            reasons.append("notebook: not measured by similarity" if similarity is None else "notebook: not kept")
        elif not ranked[i]:
            reasons.append("notebook: kept by similarity, no average score")
        else:
            reasons.append(f"notebook: average score {average[i]:.4g}, {share[i]:.3f} of the layer's {largest:.4g}")
    return verdicts, reasons, share
