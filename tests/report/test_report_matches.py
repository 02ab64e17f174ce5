"""The table of `find`: its columns, and that the text cannot control the terminal."""

from io import StringIO

import pytest

from neurolocal.report.matches import print_matches
from neurolocal.store import Match

MATCHES = [Match("post", 3, 1207, 20, 1.0, 12.3456, "token"), Match("pre", 11, 5, 2, 0.0625, -0.5, "token")]


def printed(matches, *, text=" poly", sites=("post",)):
    out = StringIO()
    print_matches(matches, text=text, sites=sites, out=out, width=80)
    return [line.split() for line in out.getvalue().splitlines()]


def test_one_line_a_neuron():
    head, names, *lines = printed(MATCHES)
    assert head == ["token", "·poly", "·", "2", "neurons"]
    assert names == ["layer", "neuron", "strength", "examples", "activation"]
    assert lines == [["3", "1207", "1.000", "20", "12.35"], ["11", "5", "0.062", "2", "-0.5"]]


def test_the_site_is_shown_if_there_are_several():
    _, names, *lines = printed(MATCHES, sites=("post", "pre"))
    assert names[0] == "site"
    assert [line[0] for line in lines] == ["post", "pre"]


def test_one_neuron_and_no_neuron():
    assert printed(MATCHES[:1])[0] == ["token", "·poly", "·", "1", "neuron"]
    assert printed([]) == [["no", "neuron", "with", "an", "example", "that", "peaks", "on", "·poly"]]


@pytest.mark.parametrize("matches", [MATCHES, []])
def test_the_text_cannot_control_the_terminal(matches):
    out = StringIO()
    print_matches(matches, text="\x1b[31m[bold]\u202e\n", sites=("post",), out=out, width=80)
    assert not {"\x1b", "\u202e"} & set(out.getvalue())
    assert "[bold]" in out.getvalue()
