"""Values as cells of CSV."""

import csv
import io
import json
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurolocal.render.cells import cell, text_cell


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_a_formula_is_preceded_by_an_apostrophe(text):
    assert text_cell(text) == cell(text) == "'" + text


def test_other_values():
    assert [cell(v) for v in (0.1, nan, -inf, None, 3, "a=1", "")] == ["0.1", "", "", "", 3, "a=1", ""]
    assert cell(["=1", nan, "é"]) == '["=1", null, "\\u00e9"]'
    assert json.loads(cell({"a": [inf, 1.5]})) == {"a": [None, 1.5]}


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_text_survives_a_csv_file(text):
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator="\r\n").writerow([text_cell(text), "end"])
    file.seek(0)
    ((found, _),) = csv.reader(file)
    assert found == text_cell(text)
    assert found.removeprefix("'") == text.removeprefix("'")
