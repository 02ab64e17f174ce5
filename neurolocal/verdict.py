"""Evidence -> verdict and rank: stated rules, top down, each with the figures that decided it.

The first rule that applies to a neuron decides:

1. `dead`     its largest |activation| lies under `config.dead`, or nothing was ever counted.
2. `token`    one word, in any spelling, holds `config.repetition` of its examples, and controls don't keep it active.
3. `form`     `SHARED` of its words share a spelling and coherence is not significant. (Punctuation, white space
              and digits are forms whatever their vectors say.) Controls don't keep it active.
4. `concept`  similarity q and perturbation q are at or under `config.level`, neighbours keep half of the activation in
              `config.half` of the cases, controls in fewer. Where perturbation has not been asked about the layer,
              similarity decides alone, and the reason says so; where it has, a neuron that it has no figures for
              (screened out, or no word that can be replaced) is no concept.
5. `context`  neighbours and controls both keep it active: whatever decides stands around the word, not in it.
6. `unclear`  the rest; the reason says what was missing.

Invariant: a neuron's verdict depends on its own evidence alone; a figure that is missing or NaN never counts as
evidence. Cost: some 30 us a neuron.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite, isnan, nan

import numpy as np
from jaxtyping import Float64, Int64

from neurolocal.config import Method, VerdictConfig
from neurolocal.records import Example, PerturbationTable, SimilarityTable, Statistics, VerdictTable
from neurolocal.words import Vocabulary

FLOOR = 0.3
"""Share of the layer's largest average score from which the notebook reports a neuron."""

HALFWAY = 4.0
"""z at which the coherence term of the score is 1/2: chance alone gives it to 1 neuron in 30,000."""

SHARED = 0.8
"""Share of the words that must share a spelling for a `form`."""

MANY = 5
"""Distinct words, at least, before what their letters share is more than chance."""

SHORTEST_AFFIX = 2
"""Letters of a beginning or ending, at least: a single shared letter is too common to be a form."""


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
    half: float = nan
    """Share of neighbours that keep half of the activation."""
    control_half: float = nan
    """The same of the controls."""
    perturbation_q: float = nan
    """q value over the layer of neighbours against controls."""
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

        score = (concept + r) / 2,   r = sqrt(c * h) where perturbation was measured, else c / 2
        c = z / (z + 4) of coherence's z (0 under 0 or unknown),   h = half - control_half (0 under 0)

    with `concept` 1 or 0, so concepts lie in [0.5, 1] and come first; dead neurons have 0. Notebook method
    (`method="notebook"`): of the neurons that similarity kept, average score / the layer's largest; `concept` from
    0.3 up.
    """
    assert len(peaks) == len(statistics.maximum), (len(peaks), len(statistics.maximum))
    evidence = _gather(statistics, similarity, perturbation, peaks)
    if method == "notebook":
        verdicts, reasons, score = _notebook(evidence, similarity, perturbation, config)
    else:
        decided = [_decide(e, config) for e in evidence]
        verdicts, reasons = [v for v, _ in decided], [r for _, r in decided]
        score = np.array([_score(e, v) for e, v in zip(evidence, verdicts, strict=True)], dtype=np.float64)
    stored = score.astype(np.float32)
    return VerdictTable(np.arange(len(peaks), dtype=np.int64), verdicts, stored, _ranks(stored), reasons)


def peak_words(examples: Iterable[Example], vocabulary: Vocabulary) -> Counter[str]:
    """The words that a neuron's examples peak on, as they stand in the text, with their number of examples."""
    return Counter(vocabulary.word_at(e.tokens, e.peak).text for e in examples)


def spelling(word: str) -> str:
    """What all spellings of a word have in common: compatibility form, case and possessive ending folded away."""
    folded = unicodedata.normalize("NFKC", word).casefold().replace("’", "'")
    return folded.removesuffix("'s") or folded


def shared_form(words: Mapping[str, int]) -> str | None:
    """What the spelling of at least `SHARED` of the words has in common, in words; None where nothing.

    Kinds of characters are counted by examples, from two distinct words up; letters are compared over distinct
    words (case-folded for beginnings and endings), from `MANY` up.
    """
    total = sum(words.values())
    if len(words) < 2:
        return None
    for name, holds in _KINDS:
        n = sum(count for word, count in words.items() if holds(word))
        if n >= SHARED * total:
            return f"{name} in {n} of {total} examples"
    if len(words) < MANY:
        return None
    n = sum(1 for w in words if sum(c.isalpha() for c in w) >= 2 and w.isupper())
    if n >= SHARED * len(words):
        return f"{n} of {len(words)} words in capitals"
    stems = sorted({spelling(w) for w in words if any(c.isalpha() for c in w)})
    if len(stems) >= MANY:
        beginning, n = _affix(stems, SHARED * len(stems))
        ending, m = _affix([s[::-1] for s in stems], SHARED * len(stems))
        if beginning or ending:
            first = len(beginning) >= len(ending)
            part, n = ("begin " + _quote(beginning), n) if first else ("end " + _quote(ending[::-1]), m)
            return f"{n} of {len(stems)} words {part}"
    n = sum(1 for w in words if w[:1].isupper())
    return f"{n} of {len(words)} words with a capital first" if n >= SHARED * len(words) else None


def _is_space(word: str) -> bool:
    return not word.strip()


def _is_symbol(word: str) -> bool:
    return bool(word.strip()) and not any(c.isalnum() for c in word)


def _is_number(word: str) -> bool:
    return any(c.isdigit() for c in word) and not any(c.isalpha() for c in word)


_KINDS = (("white space", _is_space), ("punctuation", _is_symbol), ("digits", _is_number))


def _affix(stems: list[str], least: float) -> tuple[str, int]:
    """The longest beginning that at least `least` of the stems have, and how many have it; ("", 0) where none."""
    best, number, size = "", 0, SHORTEST_AFFIX
    while True:
        ranked = Counter(s[:size] for s in stems if len(s) >= size).most_common()
        if not ranked or ranked[0][1] < least:
            return best, number
        (best, number), size = ranked[0], size + 1


def _gather(
    statistics: Statistics,
    similarity: SimilarityTable | None,
    perturbation: PerturbationTable | None,
    peaks: Sequence[Mapping[str, int]],
) -> list[Evidence]:
    finite = statistics.count - statistics.nonfinite
    magnitude = np.maximum(np.abs(statistics.minimum), np.abs(statistics.maximum)).astype(np.float64)
    magnitude = np.where(finite > 0, magnitude, 0.0)
    of_similarity = _rows(similarity)
    of_perturbation = _rows(perturbation)
    gathered = []
    for neuron, words in enumerate(peaks):
        figures: dict[str, float] = {}
        known = None
        if similarity is not None and (i := of_similarity.get(neuron)) is not None:
            figures |= {"z": float(similarity.z[i]), "coherence_q": float(similarity.q[i])}
            known = int(similarity.n_known[i])
        if perturbation is not None and (i := of_perturbation.get(neuron)) is not None:
            figures["half"] = float(perturbation.half[i])
            figures["control_half"] = float(perturbation.control_half[i])
            figures["perturbation_q"] = float(perturbation.q[i])
        n = int(finite[neuron])
        gathered.append(
            Evidence(
                words, statistics.count, n, float(magnitude[neuron]), known=known,
                asked=perturbation is not None, **figures,
            )
        )  # fmt: skip
    return gathered


def _rows(table: SimilarityTable | PerturbationTable | None) -> dict[int, int]:
    return {} if table is None else {int(neuron): i for i, neuron in enumerate(table.neuron)}


def _decide(e: Evidence, config: VerdictConfig) -> tuple[str, str]:
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


def _token(e: Evidence, config: VerdictConfig) -> str | None:
    total = sum(e.words.values())
    if not total or _held_by_context(e, config):
        return None
    families: Counter[str] = Counter()
    for word, count in e.words.items():
        families[spelling(word)] += count
    stem, n = min(families.items(), key=lambda item: (-item[1], item[0]))
    if n < config.repetition * total:
        return None
    spellings = sum(1 for word in e.words if spelling(word) == stem)
    kinds = f", in {spellings} spellings" if spellings > 1 else ""
    return f"{_quote(stem)} in {n} of {total} examples{kinds}{_and_reach(e)}"


def _form(e: Evidence, config: VerdictConfig) -> str | None:
    form = None if _held_by_context(e, config) else shared_form(e.words)
    meaningless = form is not None and form.startswith(("punctuation", "white space", "digits"))
    if form is None or (_coherent(e, config) and not meaningless):
        return None
    return f"{_words(e)}, {form}, {_coherence(e)}{_and_reach(e)}"


def _concept(e: Evidence, config: VerdictConfig) -> str | None:
    if not _coherent(e, config):
        return None
    if e.tested:
        holds = e.perturbation_q <= config.level and e.half >= config.half > e.control_half
        return f"{_words(e)}, {_coherence(e)}{_and_reach(e)}" if holds else None
    if e.asked:
        return None
    return f"{_words(e)}, {_coherence(e)}; by similarity alone, perturbation has not been asked"


def _context(e: Evidence, config: VerdictConfig) -> str | None:
    if not _held_by_context(e, config):
        return None
    return f"any word will do: neighbours hold {_percent(e.half)}, controls {_percent(e.control_half)}, {_words(e)}"


_RULES: tuple[tuple[str, Callable[[Evidence, VerdictConfig], str | None]], ...] = (
    ("dead", _dead),
    ("token", _token),
    ("form", _form),
    ("concept", _concept),
    ("context", _context),
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


def _held_by_context(e: Evidence, config: VerdictConfig) -> bool:
    return e.half >= config.half and e.control_half >= config.half


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


def _quote(text: str) -> str:
    """The text in quotation marks, on one line and short, whatever the corpus held."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:40])
    return f"“{shown}{'…' if len(text) > 40 else ''}”"


def _percent(share: float) -> str:
    return "unknown" if isnan(share) else f"{100 * share:.0f} %"


def _score(e: Evidence, name: str) -> float:
    if name == "dead":
        return 0.0
    z = max(e.z, 0.0) if not isnan(e.z) else 0.0
    c = 1.0 if z == inf else z / (z + HALFWAY)
    h = e.half - e.control_half
    r = c / 2 if isnan(h) else float(np.sqrt(c * min(max(h, 0.0), 1.0)))
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
        verdicts.append("dead" if dead is not None else "concept" if ranked[i] and share[i] >= FLOOR else "unclear")
        if dead is not None:
            reasons.append(dead)
        elif not kept[i]:
            reasons.append("notebook: not measured by similarity" if similarity is None else "notebook: not kept")
        elif not ranked[i]:
            reasons.append("notebook: kept by similarity, no average score")
        else:
            reasons.append(f"notebook: average score {average[i]:.4g}, {share[i]:.3f} of the layer's {largest:.4g}")
    return verdicts, reasons, share
