"""A list that depends on the config alone is computed once, and read from the cache only if it fits."""

from __future__ import annotations

import json

from subject_twins import tiny_model

from neurolocal.subject.sites import remembered


def test_what_is_remembered_is_found_once_and_believed_only_when_it_fits(own_cache) -> None:
    config = tiny_model("Llama").config
    asked = []

    def find() -> list[int]:
        asked.append(1)
        return [48, 48]

    for _ in range(2):
        assert remembered(config, "widths", find, of=(2, int)) == [48, 48]
    assert len(asked) == 1
    (kept,) = (own_cache / "sites").glob("*.json")
    for damaged in ("", "{", "[48]", '["48", "48"]', "{}", "[true, true]"):
        kept.write_text(damaged)
        assert remembered(config, "widths", find, of=(2, int)) == [48, 48]
        assert json.loads(kept.read_text()) == [48, 48]
    assert len(asked) == 7
    config.intermediate_size += 1
    remembered(config, "widths", find, of=(2, int))
    assert len(asked) == 8, "another config was answered with the old one's"
