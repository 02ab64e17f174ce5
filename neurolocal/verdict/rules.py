"""The rules of the default method: evidence -> verdict. The first rule that applies to a neuron decides.

A q value *counts* at or under `config.level`. A neuron is *coherent* if its similarity q counts. Near words *hold* if
the perturbation q counts and at least `config.near` of them keep half of the activation, more than controls do.

1. `dead`     The largest |activation| is under `config.dead`, or no position was counted.
2. `form`     At least `config.shared` of the examples peak on white space, on punctuation or on digits, whatever their
              vectors say; but not where any word will do (rules 5 and 6).
3. `grammar`  At least `CLASS` of the examples peak on function words of one closed class (pronouns, prepositions, ...),
              coherent or not. Not where any word will do (rules 5 and 6), where the word alone is not enough (rule 8),
              where random words of a shared form hold (rule 4), or where perturbation has no figures of the neuron.
4. `form`     At least `config.shared` of its words share a form (its q counts), and the activation follows the form:
              random words of that form keep half in `config.near` of the cases or more, more often than near words
              and more than twice as often as controls. For words that are not coherent it is enough that words of
              that form keep half as often as near words and controls do, or that this was not measured. For capitals,
              the words must not be coherent, and words in the same capitals or near words must keep half more often
              than the word in other capitals.
5. `unclear`  Controls keep half in `config.half` of the cases or more, and so do `config.around` of the positions
              around the peaks: a passage excites it, as it does every neuron of an untrained model.
6. `context`  Controls keep half so often, and those positions do not: any word will do there, so the context decides.
7. `concept`  Its words are coherent and near words hold.
8. `context`  The word keeps half in fewer than `config.elsewhere` of other contexts: the word alone is not enough. Not
              where the positions around keep half as well.
9. `token`    One word, in any spelling, has `config.repetition` of the examples.
10. `concept` Its words are coherent, and perturbation was not run on the layer. The reason says so.
11. `concept` Its words are coherent with z of `config.closed` or more, and near words do not hold: a closed list, which
              comes back to few words (at most half as many as examples). A neuron without figures of perturbation
              (screened out, or no word that can be replaced) is not included.
12. `concept` Of a longer list, the same from a z of `config.strong` on.
13. `untested` There are no figures of perturbation: it was not run, the screen omitted the neuron, or no word of its
              could be replaced.
14. `unclear` All others: tested, and the evidence does not decide.

A `concept` whose examples peak on function words of any class in `FUNCTION` of the cases or more is `grammar`, too.

Invariant: a neuron's verdict depends on its own evidence alone; a figure that is missing or NaN never counts as
evidence. Cost: O(distinct peak words) a neuron.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isnan
from typing import NamedTuple

from neurolocal.config import VerdictConfig
from neurolocal.literals import Verdict
from neurolocal.verdict import reasons
from neurolocal.verdict.evidence import Evidence, is_closed, repeated_word, without_letters
from neurolocal.words.classes import FUNCTION, GRAMMAR, ONE_CLASS, closed_class

CLASS = 0.8
"""Share of the examples on one closed class from which a neuron is `grammar`."""


class Rule(NamedTuple):
    """One rule."""

    verdict: Verdict
    """The verdict of a neuron that it applies to."""
    applies: Callable[[Evidence, VerdictConfig], bool]
    """Whether it applies."""
    reason: Callable[[Evidence, VerdictConfig], str]
    """The figures that decided, in words."""


def decide(e: Evidence, config: VerdictConfig) -> tuple[Verdict, str]:
    """The verdict of one neuron, and its reason."""
    for rule in RULES:
        if rule.applies(e, config):
            name = closed_class(e.words, FUNCTION, GRAMMAR) if rule.verdict == "concept" else None
            reason = rule.reason(e, config)
            if rule.verdict == "concept" and e.parts:
                reason = f"{reasons.meanings(e)}; {reason}"
            return (rule.verdict, reason) if name is None else ("grammar", f"{name}: {reason}")
    return ("unclear" if e.tested or not e.finite else "untested"), reasons.undecided(e)


def is_dead(e: Evidence, config: VerdictConfig) -> bool:
    """Rule 1. A neuron whose activations are all NaN or infinite is not dead."""
    return not e.magnitude >= config.dead if e.finite else not e.count


def _no_letters(e: Evidence, config: VerdictConfig) -> bool:
    return without_letters(e.words, config.shared) is not None and not _any_word(e, config)


def _one_class(e: Evidence, config: VerdictConfig) -> bool:
    if (e.asked and not e.tested) or _any_word(e, config) or _only_in_context(e, config):
        return False
    return not e.spelled_half >= config.near and closed_class(e.words, CLASS, ONE_CLASS) is not None


def _shared_form(e: Evidence, config: VerdictConfig) -> bool:
    shared = e.form_q <= config.level and e.form_share >= config.shared
    return shared and without_letters(e.words, config.shared) is None and _follows_form(e, config)


def _follows_form(e: Evidence, config: VerdictConfig) -> bool:
    """Whether the activation follows the form; a figure that was not measured is no evidence against it."""
    near = 0.0 if isnan(e.half) else e.half
    random = 0.0 if isnan(e.control_half) else e.control_half
    if isnan(e.spelled_half):
        return not _coherent(e, config) and not _any_word(e, config)
    if e.form.startswith("capital"):
        return not _coherent(e, config) and e.form_half < max(e.spelled_half, near)
    if e.spelled_half >= config.near and e.spelled_half > near and e.spelled_half > 2 * random:
        return True
    return not _coherent(e, config) and e.spelled_half >= max(near, random)


def _any_word(e: Evidence, config: VerdictConfig) -> bool:
    return e.control_half >= config.half


def _passage(e: Evidence, config: VerdictConfig) -> bool:
    return e.around >= config.around


def _any_word_of_a_passage(e: Evidence, config: VerdictConfig) -> bool:
    return _any_word(e, config) and _passage(e, config)


def _concept(e: Evidence, config: VerdictConfig) -> bool:
    return _list(e, config) and e.tested and _near_words_hold(e, config)


def _only_in_context(e: Evidence, config: VerdictConfig) -> bool:
    return e.elsewhere_half < config.elsewhere and not _passage(e, config)


def _one_word(e: Evidence, config: VerdictConfig) -> bool:
    return repeated_word(e.words, config.repetition) is not None


def _coherence_alone(e: Evidence, config: VerdictConfig) -> bool:
    return _list(e, config) and not e.asked


def _closed_list(e: Evidence, config: VerdictConfig) -> bool:
    return _words_alone(e, config) and is_closed(e.words) and e.z >= config.closed


def _strong_list(e: Evidence, config: VerdictConfig) -> bool:
    return _words_alone(e, config) and e.z >= config.strong


def _several_meanings(e: Evidence, config: VerdictConfig) -> bool:
    return bool(e.parts) and e.tested


def _words_alone(e: Evidence, config: VerdictConfig) -> bool:
    return _coherent(e, config) and e.tested


def _coherent(e: Evidence, config: VerdictConfig) -> bool:
    return e.coherence_q <= config.level and not e.z <= 0


def _list(e: Evidence, config: VerdictConfig) -> bool:
    """Whether the words belong together, all of them or in parts."""
    return _coherent(e, config) or bool(e.parts)


def _near_words_hold(e: Evidence, config: VerdictConfig) -> bool:
    return e.perturbation_q <= config.level and e.half >= config.near and e.half > e.control_half


RULES: tuple[Rule, ...] = (
    Rule("dead", is_dead, reasons.dead),
    Rule("form", _no_letters, reasons.no_letters),
    Rule("grammar", _one_class, reasons.one_class),
    Rule("form", _shared_form, reasons.shared_form),
    Rule("unclear", _any_word_of_a_passage, reasons.passage),
    Rule("context", _any_word, reasons.any_word),
    Rule("concept", _concept, reasons.concept),
    Rule("context", _only_in_context, reasons.context),
    Rule("token", _one_word, reasons.token),
    Rule("concept", _coherence_alone, reasons.coherence_alone),
    Rule("concept", _closed_list, reasons.closed_list),
    Rule("concept", _strong_list, reasons.strong_list),
    Rule("concept", _several_meanings, reasons.concept),
)
"""In order: the first that applies decides."""
