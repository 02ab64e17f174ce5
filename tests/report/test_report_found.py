"""The table of `find`: its columns, and that nothing in the text steers the terminal."""

from io import StringIO

import pytest

from neurolocal.report.found import print_found
from neurolocal.store import Match

FOUND = [Match("post", 3, 1207, 20, 1.0, 12.3456, "token"), Match("pre", 11, 5, 2, 0.0625, -0.5, "token")]


def printed(found, *, text=" poly", sites=("post",)):
    out = StringIO()
    print_found(found, text=text, sites=sites, out=out, width=80)
    return [line.split() for line in out.getvalue().splitlines()]


def test_a_line_a_neuron():
    head, names, *lines = printed(FOUND)
    assert head == ["token", "·poly", "·", "2", "neurons"]
    assert names == ["layer", "neuron", "strength", "examples", "activation"]
    assert lines == [["3", "1207", "1.000", "20", "12.35"], ["11", "5", "0.062", "2", "-0.5"]]


def test_the_site_stands_there_where_there_are_several():
    _, names, *lines = printed(FOUND, sites=("post", "pre"))
    assert names[0] == "site"
    assert [line[0] for line in lines] == ["post", "pre"]


def test_one_neuron_and_none():
    assert printed(FOUND[:1])[0] == ["token", "·poly", "·", "1", "neuron"]
    assert printed([]) == [["no", "neuron", "of", "these", "peaks", "on", "·poly"]]


@pytest.mark.parametrize("found", [FOUND, []])
def test_nothing_steers_the_terminal(found):
    out = StringIO()
    print_found(found, text="\x1b[31m[bold]\u202e\n", sites=("post",), out=out, width=80)
    assert not {"\x1b", "\u202e"} & set(out.getvalue())
    assert "[bold]" in out.getvalue()
