"""Reasons: the figures that decided a verdict, as one line of text.

Invariant: one short line whatever the words of the corpus contain; a figure that was not measured is left out or called
unknown. Cost: O(distinct peak words) a neuron.
"""

from __future__ import annotations

from math import isnan

from neurolocal.config import VerdictConfig
from neurolocal.verdict.evidence import Evidence, RepeatedWord, repeated_word, without_letters
from neurolocal.words.classes import ONE_CLASS, closed_class
from neurolocal.words.forms import spelling


def dead(e: Evidence, config: VerdictConfig) -> str:
    """The largest activation, and the threshold."""
    if not e.count:
        return "no position was routed to its expert" if e.expert else "no position was counted"
    return f"largest |activation| {e.magnitude:.2g} over {e.finite:,} positions, under {config.dead:g}"


def no_letters(e: Evidence, config: VerdictConfig) -> str:
    """Which characters the peaks are made of."""
    return f"{_words(e)}, {without_letters(e.words, config.shared)}, {_coherence(e)}{_and_reach(e)}"


def shared_form(e: Evidence, config: VerdictConfig) -> str:
    """The shared form and what random words of that form do."""
    shared = f"{_percent(e.form_share)} of them {_quote(e.form)} (q = {e.form_q:.2g})"
    spelled = "" if isnan(e.spelled_half) else f", others so spelled {_percent(e.spelled_half)}"
    return f"{_words(e)}, {shared}, {_coherence(e)}{_and_reach(e)}{spelled}"


def any_word(e: Evidence, config: VerdictConfig) -> str:
    """What neighbours and controls keep."""
    return f"any word will do: neighbours hold {_percent(e.half)}, controls {_percent(e.control_half)}, {_words(e)}"


def passage(e: Evidence, config: VerdictConfig) -> str:
    """What controls and the positions around the peaks keep."""
    kept = f"controls hold {_percent(e.control_half)}, the positions around the peaks {_percent(e.around)}"
    return f"a passage excites it, and no word or place in it: {kept}, {_words(e)}"


def concept(e: Evidence, config: VerdictConfig) -> str:
    """Coherence and what neighbours and controls keep; whether the words need their context."""
    needs = f"; needs its context{_and_elsewhere(e)}" if e.elsewhere_half < config.elsewhere else ""
    return f"{_words(e)}, {_coherence(e)}{_and_reach(e)}{needs}"


def meanings(e: Evidence) -> str:
    """The meanings, where there are several."""
    return f"{len(e.parts)} meanings: {' · '.join(_plain(part, 80) for part in e.parts)}"


def context(e: Evidence, config: VerdictConfig) -> str:
    """The word or words, and what they keep in other contexts."""
    repeated = repeated_word(e.words, config.repetition)
    words = _words(e) if repeated is None else _repeated(repeated)
    return f"{words}, but not by itself{_and_elsewhere(e)}{_and_reach(e)}"


def one_class(e: Evidence, config: VerdictConfig) -> str:
    """The closed class, coherence, and what neighbours and other contexts keep."""
    name = closed_class(e.words, 0.0, ONE_CLASS)
    return f"{name}: {_words(e)}, {_coherence(e)}{_and_reach(e)}{_and_elsewhere(e)}"


def token(e: Evidence, config: VerdictConfig) -> str:
    """The word, its examples and spellings."""
    repeated = repeated_word(e.words, config.repetition)
    assert repeated is not None
    return f"{_repeated(repeated)}{_and_reach(e)}{_and_elsewhere(e)}"


def closed_list(e: Evidence, config: VerdictConfig) -> str:
    """Coherence, beside neighbours that do not keep the activation."""
    return f"{concept(e, config)}: a closed list"


def strong_list(e: Evidence, config: VerdictConfig) -> str:
    """The same of a longer list."""
    return f"{concept(e, config)}: strong coherence decides"


def coherence_alone(e: Evidence, config: VerdictConfig) -> str:
    """Coherence, where perturbation was not run."""
    return f"{_words(e)}, {_coherence(e)}; by similarity alone, perturbation has not been asked"


def undecided(e: Evidence) -> str:
    """The figures there are, and what is missing."""
    if not e.finite:
        return f"activation NaN or infinite at all {e.count:,} positions"
    if not e.words:
        return "no examples"
    omitted = "none of its words could be replaced" if e.listed else "omitted by the screen of perturbation"
    why = omitted if e.asked else "perturbation has not been asked"
    return f"{_words(e)}, {_coherence(e)}" + (_and_reach(e) or f"; {why}")


def _words(e: Evidence) -> str:
    n = len({spelling(w) for w in e.words})
    return f"{n} distinct word{'' if n == 1 else 's'}"


def _repeated(repeated: RepeatedWord) -> str:
    spellings = f", in {repeated.spellings} spellings" if repeated.spellings > 1 else ""
    return f"{_quote(repeated.word)} in {repeated.n} of {repeated.total} examples{spellings}"


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
    """The text in quotation marks, on one line and at most 40 characters, with control characters escaped."""
    return f"“{_plain(text, 40)}”"


def _plain(text: str, most: int) -> str:
    """The text on one line and at most so many characters, with control characters escaped."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:most])
    return f"{shown}{'…' if len(text) > most else ''}"


def _percent(share: float) -> str:
    return "unknown" if isnan(share) else f"{100 * share:.0f} %"
