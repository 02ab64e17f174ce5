"""The result of an import: as JSON, and the problems that are printed."""

from __future__ import annotations

import json

from neurolocal.neuroscope.imports.result import SHOWN, ImportResult


def test_the_first_problems_are_printed_and_all_are_counted():
    for n in (0, 1, SHOWN, SHOWN + 5):
        lines: list[str] = []
        result = ImportResult(problems=[f"{i}.html: cut" for i in range(n)])
        result.say_problems(lines.append)
        assert lines[:SHOWN] == [f"  {i}.html: cut" for i in range(min(n, SHOWN))]
        assert lines[SHOWN:] == (
            [f"  … {n} problems in all; the store keeps them (--json prints them)"] if n > SHOWN else []
        )


def test_the_json_names_every_field():
    made = ImportResult(pages=2, texts=40, rows=39, doubled=1, problems=["a.html: «é»"])
    assert json.loads(made.json()) == {"pages": 2, "texts": 40, "rows": 39, "doubled": 1, "problems": ["a.html: «é»"]}
