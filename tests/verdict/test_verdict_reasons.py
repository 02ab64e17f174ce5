"""Reasons: one short line with the figures that are known."""

import numpy as np
import pytest
from verdict_layers import CONFIG, DAYS, one, similarity

from neurolocal.verdict import reasons
from neurolocal.verdict.evidence import Evidence


def test_missing_evidence_is_named():
    assert one(DAYS)[:2] == (
        "untested",
        "8 distinct words, coherence not measured; perturbation has not been asked",
    )
    assert one({})[:2] == ("untested", "no examples")
    assert "coherence unknown (1 with a vector)" in one(DAYS, similarity([np.nan], [np.nan], n_known=[1]))[1]


def test_reason_is_one_short_line_whatever_the_word():
    _, reason, _ = one({"\n\u202e" + "x" * 500: 20})
    assert "\n" not in reason
    assert "\u202e" not in reason
    assert len(reason) < 120


def test_a_figure_that_was_not_measured_is_left_out_or_called_unknown():
    known = Evidence(DAYS, 100, 100, 3.0, z=9.14, coherence_q=0.00123, known=8, half=0.711, control_half=0.08)
    assert reasons.concept(known, CONFIG) == (
        "8 distinct words, coherence z = 9.1 (q = 0.0012), neighbours hold 71 %, controls 8 %"
    )
    no_z = Evidence(DAYS, 100, 100, 3.0, coherence_q=0.5, known=8, half=0.5)
    assert reasons.concept(no_z, CONFIG) == (
        "8 distinct words, coherence q = 0.5, neighbours hold 50 %, controls unknown"
    )


@pytest.mark.parametrize(("word", "shown"), [("day", "“day”"), ("a\nb", "“a\\nb”"), ("x" * 41, f"“{'x' * 40}…”")])
def test_a_word_is_quoted_on_one_line(word, shown):
    assert reasons.token(Evidence({word: 3}, 9, 9, 1.0), CONFIG) == f"{shown} in 3 of 3 examples"
