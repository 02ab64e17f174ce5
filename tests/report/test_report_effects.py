"""The table of what each threshold does to the verdicts."""

import io

import numpy as np

from neurolocal.literals import VERDICTS
from neurolocal.records import VerdictTable
from neurolocal.report.effects import print_effects, print_reasons
from neurolocal.verdict.sensitivity import Effect


def counts(**given):
    return {verdict: given.get(verdict, 0) for verdict in VERDICTS}


EFFECTS = [
    Effect("level", 0.01, False, counts(concept=1, unclear=1233), 2),
    Effect("level", 0.05, True, counts(concept=3, unclear=1231), 0),
    Effect("dead", 1e-06, True, counts(dead=1, unclear=1233), 0),
    Effect("dead", 0.1, False, counts(dead=1, unclear=1233), 0),
    Effect("half", 0.5, True, counts(dead=1, unclear=1233), 0),
]


def test_one_line_a_value_with_the_chosen_one_marked():
    out = io.StringIO()
    print_effects(EFFECTS, title="layer 2", out=out, width=100)
    title, head, *lines, foot, still = [line.split() for line in out.getvalue().splitlines() if line.strip()]
    assert title == ["layer", "2"]
    assert head == ["threshold", "value", *VERDICTS, "moved"]
    empty = dict.fromkeys(VERDICTS, "0")
    assert lines == [
        ["level", "0.01", *{**empty, "concept": "1", "unclear": "1,233"}.values(), "2"],
        ["0.05", "*", *{**empty, "concept": "3", "unclear": "1,231"}.values()],
    ]
    assert foot[:5] == ["*", "the", "value", "in", "use;"]
    assert " ".join(still) == "no verdict changes with dead from 1e-06 to 0.1, half from 0.5 to 0.5"


def test_the_threshold_that_moves_most_comes_first_and_nothing_is_printed_of_those_that_move_none():
    out = io.StringIO()
    more = [Effect("strong", 3.0, False, counts(concept=9), 90), Effect("strong", 6.0, True, counts(concept=3), 0)]
    print_effects([*EFFECTS, *more], title="layer 2", out=out, width=100)
    text = out.getvalue()
    assert text.index("strong") < text.index("level") < text.index("no verdict changes with dead")
    out = io.StringIO()
    print_effects(EFFECTS[2:], title="layer 2", out=out, width=100)
    assert [line for line in out.getvalue().splitlines() if line] == [
        "layer 2", "no verdict changes with dead from 1e-06 to 0.1, half from 0.5 to 0.5",
    ]  # fmt: skip


def test_the_best_neurons_come_with_what_decided_them_and_nothing_hidden():
    n = 20
    ranks = np.random.default_rng(4).permutation(n)
    reasons = [f"rank {rank}: 4 distinct\x1b[31m words [bold]" for rank in ranks]
    table = VerdictTable(np.arange(n), ["concept"] * n, np.zeros(n, np.float32), ranks, reasons)
    out = io.StringIO()
    print_reasons(table, title="layer 2", out=out, width=100)
    title, head, *lines = [line for line in out.getvalue().splitlines() if line]
    assert (title, head.split()) == ("layer 2", ["neuron", "verdict", "decided", "by"])
    first = [int(np.flatnonzero(ranks == rank)[0]) for rank in range(8)]
    assert [line.split()[0] for line in lines] == [str(neuron) for neuron in first]
    assert lines[1].endswith("concept  rank 1: 4 distinct⟨U+001B⟩[31m words [bold]")
