"""The table of what each threshold does to the verdicts."""

import io

from neurolocal.literals import VERDICTS
from neurolocal.report.effects import print_effects
from neurolocal.verdict.sensitivity import Effect


def counts(**given):
    return {verdict: given.get(verdict, 0) for verdict in VERDICTS}


EFFECTS = [
    Effect("level", 0.01, False, counts(concept=1, unclear=1233), 2),
    Effect("level", 0.05, True, counts(concept=3, unclear=1231), 0),
    Effect("dead", 1e-06, True, counts(dead=1, unclear=1233), 0),
]


def test_one_line_a_value_with_the_chosen_one_marked():
    out = io.StringIO()
    print_effects(EFFECTS, title="layer 2", out=out, width=100)
    title, head, *lines, foot = [line.split() for line in out.getvalue().splitlines() if line.strip()]
    assert title == ["layer", "2"]
    assert head == ["threshold", "value", *VERDICTS, "moved"]
    empty = dict.fromkeys(VERDICTS, "0")
    assert lines == [
        ["level", "0.01", *{**empty, "concept": "1", "unclear": "1,233"}.values(), "2"],
        ["0.05", "*", *{**empty, "concept": "3", "unclear": "1,231"}.values()],
        ["dead", "1e-06", *["*"], *{**empty, "dead": "1", "unclear": "1,233"}.values()],
    ]
    assert foot[:5] == ["*", "the", "value", "in", "use;"]
