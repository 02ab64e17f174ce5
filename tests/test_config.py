"""Settings: conflicts named with both fields, canonical text, hashes, and what differs."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurolocal.config import (
    PRESETS,
    CollectConfig,
    PerturbationConfig,
    SimilarityConfig,
    SummaryConfig,
    VerdictConfig,
    canonical,
    differences,
    preset_settings,
    sha256,
)
from neurolocal.errors import ConfigError
from neurolocal.pipeline.run import tables

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("make", "settings", "names"),
    [
        (CollectConfig, {"row_length": 1}, ["row_length = 1", "2 or more"]),
        (CollectConfig, {"k": 0}, ["k = 0", "1 or more"]),
        (CollectConfig, {"before": -1}, ["before = -1"]),
        (CollectConfig, {"after": -1}, ["after = -1"]),
        (CollectConfig, {"batch_size": 0}, ["batch_size = 0"]),
        (CollectConfig, {"max_rows": 0}, ["max_rows = 0"]),
        (CollectConfig, {"shards": 0}, ["shards = 0"]),
        (CollectConfig, {"shard": -1}, ["shard = -1"]),
        (CollectConfig, {"shard": 3, "shards": 3}, ["shard 3 of 3", "from 0 to 2"]),
        (CollectConfig, {"bos": "none", "count_bos": True}, ["count_bos", "bos = none"]),
        (SimilarityConfig, {"draws": 5}, ["draws = 5"]),
        (SimilarityConfig, {"bins": 0}, ["bins = 0"]),
        (PerturbationConfig, {"examples": 0}, ["examples = 0"]),
        (PerturbationConfig, {"permutations": 3}, ["permutations = 3"]),
        (PerturbationConfig, {"screen": 0}, ["screen = 0"]),
        (SummaryConfig, {"limit": -1}, ["limit = -1"]),
        (SummaryConfig, {"samples": 0}, ["samples = 0"]),
        (SummaryConfig, {"max_tokens": 0}, ["max_tokens = 0"]),
        (SummaryConfig, {"n_ctx": 0}, ["n_ctx = 0"]),
        (SummaryConfig, {"temperature": float("nan")}, ["temperature = nan"]),
        (SummaryConfig, {"temperature": -1.0}, ["temperature = -1.0", "0 or more"]),
        (VerdictConfig, {"level": float("nan")}, ["level = nan"]),
        (VerdictConfig, {"strong": float("inf")}, ["strong = inf"]),
        (SimilarityConfig, {"level": float("nan")}, ["level = nan"]),
        (SimilarityConfig, {"draws": 10**15}, ["draws = 1000000000000000", "10,000,000 or less"]),
        (CollectConfig, {"k": 10**9}, ["k = 1000000000", "10,000,000 or less"]),
        (CollectConfig, {"k": 10**25}, ["k = 1", "10,000,000 or less"]),
        (CollectConfig, {"k": 10**5000}, ["k = a number of 5,001 digits"]),
        (CollectConfig, {"row_length": 10**12}, ["row_length = 1000000000000"]),
        (CollectConfig, {"batch_size": 10**12}, ["batch_size = 1000000000000"]),
        (CollectConfig, {"layers": (1, 10**20)}, ["layers = 100000000000000000000"]),
        (CollectConfig, {"seed": -1}, ["seed = -1"]),
        (CollectConfig, {"seed": 10**30}, ["seed = a number of 31 digits"]),
    ],
)
def test_what_cannot_be_is_named(make, settings, names) -> None:
    with pytest.raises(ConfigError) as caught:
        make(**settings)
    assert "\n" not in str(caught.value)
    for name in names:
        assert name in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [{"row_length": 2, "k": 1, "before": 0, "after": 0, "batch_size": 1}, {"shard": 2, "shards": 3}, {"max_rows": 1}],
)
def test_the_smallest_that_can_be(settings) -> None:
    CollectConfig(**settings)


def test_configs_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        CollectConfig().k = 3  # type: ignore[misc]


def test_each_field_is_documented() -> None:
    import ast
    import inspect

    from neurolocal import config

    for kind in ast.parse(inspect.getsource(config)).body:
        if not isinstance(kind, ast.ClassDef):
            continue
        for i, statement in enumerate(kind.body):
            if isinstance(statement, ast.AnnAssign):
                following = kind.body[i + 1]
                assert isinstance(following, ast.Expr), f"{kind.name}.{ast.unparse(statement.target)} has no docstring"


def test_the_preset_is_neuroscopes() -> None:
    config = CollectConfig(**preset_settings("neuroscope"))
    assert (config.row_length, config.k, config.before, config.after, config.count_bos) == (1024, 20, 50, 10, True)
    assert preset_settings(None) == {}
    preset_settings("neuroscope")["k"] = 3
    assert PRESETS["neuroscope"]["k"] == 20, "the caller's dictionary is the table itself"
    with pytest.raises(ConfigError, match=r"preset = 'gluscope': choose one of neuroscope"):
        preset_settings("gluscope")


@given(PLAIN)
def test_canonical_is_json_and_the_same_for_equal_values(value) -> None:
    text = canonical(value)
    assert json.loads(text) == value
    assert canonical(json.loads(text)) == text
    assert "\n" not in text


def test_canonical_does_not_depend_on_the_order_of_keys() -> None:
    assert canonical({"b": 1, "a": {"d": 2, "c": "é"}}) == '{"a":{"c":"é","d":2},"b":1}'
    assert sha256({"b": 1, "a": 2}) == sha256({"a": 2, "b": 1})
    assert canonical(SimilarityConfig()) == canonical(dataclasses.asdict(SimilarityConfig()))


@given(PLAIN, PLAIN)
def test_equal_hashes_exactly_when_the_text_is_equal(one, other) -> None:
    assert (sha256(one) == sha256(other)) == (canonical(one) == canonical(other))
    assert len(sha256(one)) == 64


def test_every_field_changes_the_hash() -> None:
    for kind in tables().values():
        default = dataclasses.asdict(kind())
        for name in default:
            assert sha256(default | {name: "another"}) != sha256(default)


@given(PLAIN, PLAIN)
def test_differences_are_empty_exactly_for_equal_values(one, other) -> None:
    assert differences(one, one) == []
    if canonical(one) == canonical(other):
        assert differences(one, other) == []
    elif not ({type(one), type(other)} == {dict} and _holds_none(one, other)):
        assert differences(one, other)


def _holds_none(one, other) -> bool:
    """A key that is absent and one that holds null read alike."""
    return any(value is None or isinstance(value, dict) for value in [*one.values(), *other.values()])


def test_differences_name_the_path_and_both_values() -> None:
    old = {"config": {"k": 20, "dtype": "float32"}, "subject": "a" * 64, "gone": 1}
    new = {"config": {"k": 10, "dtype": "float32"}, "subject": "b" * 64, "new": [1]}
    assert differences(old, new) == [
        "config.k: 20 -> 10",
        "gone: 1 -> null",
        "new: null -> [1]",
        f"subject: {'a' * 12}… -> {'b' * 12}…",
    ]


@pytest.mark.parametrize("name", ["layers", "neurons"])
def test_a_million_layers_or_neurons_are_looked_at_once(name: str) -> None:
    """Looking for each among all of them would take hours."""
    many = tuple(range(1_000_000))
    assert getattr(CollectConfig(**{name: many}), name) == many
    with pytest.raises(ConfigError, match="each once"):
        CollectConfig(**{name: (*many, 5)})
