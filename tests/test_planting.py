"""The ground truth of bench_planted.py: its word sets, their neurons, and where these should fire."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from neurolocal.words.forms import has_form

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture
def planting(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import planting

    sys.modules.pop("planting")
    return planting


def words_of(planting: ModuleType, halves: dict[str, Any]):
    """Every word of the sets and 3,000 made-up ones, as tokens with counts."""
    every: set[str] = set()
    for sets in halves.values():
        pairs = " | ".join(sets["contexts"]["pairs"])
        every |= {w for text in sets["concepts"].values() for w in text.split()} | set(sets["tokens"]["words"].split())
        every |= set(sets["contexts"]["after"].split()) | {w.strip() for w in pairs.split("|")}
    letters = "abcdefghij"
    every |= {"x" + "".join(letters[int(c)] for c in f"{i:04d}") + e for i in range(1000) for e in ("tion", "ing", "s")}
    text = dict(enumerate(sorted(w for w in every if " " not in w)))
    return planting.Words(text, {i: 3 + (i * 37) % 900 for i in text})


def test_the_word_sets_have_the_stated_sizes_and_matched_random_sets(planting) -> None:
    halves = tomllib.loads(planting.SETS["long"].read_text(encoding="utf-8"))
    assert list(halves) == ["build", "final"]
    lists = [text.split() for sets in halves.values() for text in sets["concepts"].values()]
    assert len(lists) >= 120
    for words in lists:
        assert len(words) >= 8
        assert len(words) == len(set(words)), words
    words = words_of(planting, halves)
    made = planting.plants(words, sets="long", spare=30, seed=1)
    of = {p.name: p for p in made}
    assert len(of) == len(made), "a name appears twice"
    concepts = [p for p in made if p.kind == "concept"]
    for final in (False, True):
        assert sum(p.final == final for p in concepts) >= 30
    for p in concepts:
        other = of[f"random for {p.name}"]
        assert p.final == other.final
        assert len(p.tokens) == len(other.tokens)
        assert not p.tokens & other.tokens
        counts = [sorted(words.counts[t] for t in q.tokens) for q in (p, other)]
        assert np.median(np.abs(np.log(np.array(counts[0]) / np.array(counts[1])))) < 0.25
    for kind in ("concept", "random", "spare", "token", "form", "after", "pair"):
        assert {p.final for p in made if p.kind == kind} == {False, True}
    for p in made:
        if p.form:
            assert all(has_form(words.text[t], p.form) for t in p.tokens)
    assert {p.truth for p in made} == {"concept", "grammar", "unclear", "token", "form", "context"}


def test_short_lists_have_random_sets_of_the_same_size_and_skew(planting) -> None:
    halves = tomllib.loads(planting.SETS["short"].read_text(encoding="utf-8"))
    assert list(halves) == ["build", "final"]
    every = {w for sets in halves.values() for text in sets["concepts"].values() for w in text.split()}
    text = dict(enumerate(sorted(every | {f"x{i}" for i in range(3000)})))
    words = planting.Words(text, {i: 3 + (i * 37) % 900 for i in text})
    of = {p.name: p for p in planting.plants(words, sets="short", spare=10, seed=1)}
    for sets in halves.values():
        skewed = sets["skewed"].split()
        assert set(skewed) < set(sets["concepts"])
        for name, listed in sets["concepts"].items():
            own, other = of[name], of[f"random for {name}"]
            assert 3 <= len(own.tokens) == len(other.tokens) <= 6
            assert not own.tokens & other.tokens
            assert (own.first is not None) == (other.first is not None) == (name in skewed)
            if own.first is not None:
                assert text[own.first] == listed.split()[0]
                assert other.first in other.tokens
            assert own.truth in ("concept", "grammar")
    assert {p.kind for p in of.values()} == {"concept", "random", "spare", "mixed"}
    assert any(p.kind == "spare" and p.first is not None for p in of.values())


def test_a_class_of_function_words_has_a_mixed_set_of_function_words(planting) -> None:
    halves = tomllib.loads(planting.SETS["short"].read_text(encoding="utf-8"))
    every = {w for sets in halves.values() for text in sets["concepts"].values() for w in text.split()}
    text = dict(enumerate(sorted(every | set(planting.FUNCTION_WORDS) | {f"x{i}" for i in range(1000)})))
    words = planting.Words(text, {i: 3 + (i * 37) % 900 for i in text})
    of = {p.name: p for p in planting.plants(words, sets="short", spare=2, seed=1)}
    classes = [p for p in of.values() if p.kind == "concept" and p.truth == "grammar"]
    assert len(classes) >= 17
    for p in classes:
        mixed = of[f"mixed for {p.name}"]
        assert len(mixed.tokens) == len(p.tokens)
        assert not mixed.tokens & p.tokens
        assert {text[i] for i in mixed.tokens} <= planting.FUNCTION_WORDS
        assert (mixed.final, mixed.truth) == (p.final, "unclear")
        assert (mixed.first is None) == (p.first is None)


def test_what_a_token_is_due_equals_a_plain_loop(planting) -> None:
    rng = np.random.default_rng(5)
    ids, rows, fired = rng.integers(0, 6, 400), rng.integers(0, 30, 400), rng.random(400)
    quota = {1: 12, 2: 3, 4: 99, 7: 2}
    found = planting.weakest_due(ids, rows, fired, quota, n=9)
    for token in range(9):
        best = [max(f) for r in range(30) if (f := fired[(ids == token) & (rows == r)]).size]
        due = sorted(best)[::-1][: quota.get(token, 1)]
        assert found[token] == (due[-1] if due else 0)


def test_the_first_word_of_a_skewed_list_is_due_most_examples(planting) -> None:
    assert planting.quotas(planting.Plant("plain", "concept", False, frozenset({1, 2, 3}))) == {}
    skewed = planting.Plant("skewed", "concept", False, frozenset({1, 2, 3, 4, 5}), first=3)
    assert planting.quotas(skewed) == {1: 2, 2: 2, 3: 12, 4: 2, 5: 2}


def test_where_a_plant_should_fire_equals_a_plain_loop(planting, rng: np.random.Generator) -> None:
    rows = rng.integers(0, 12, (40, 30))
    allowed = np.arange(12) % 3 > 0
    plants = [
        planting.Plant("words", "concept", False, frozenset({1, 4}), blind=frozenset({5})),
        planting.Plant("after", "after", False, before=2, blind_before=frozenset({3})),
        planting.Plant("pair", "pair", False, frozenset({7}), before=2, blind_before=frozenset({3})),
    ]
    for p in plants:
        hit, counts = planting.hits(p, rows, allowed)
        for r, row in enumerate(rows):
            for i, token in enumerate(row):
                before = row[i - 1] if i else -1
                due = (token in p.tokens if p.tokens else allowed[token]) and p.before in (None, before)
                evaluated = i > 0 and token not in p.blind
                if p.before is not None:
                    evaluated = evaluated and before not in p.blind_before
                    evaluated = evaluated and (bool(p.tokens) or allowed[token] or before != p.before)
                assert counts[r, i] == evaluated
                assert hit[r, i] == (due and evaluated)
