"""The facts of a run as pairs of name and value: subject, corpus, size, and the quality of the word vectors.

Invariant: what the manifest does not contain is omitted. Values are plain text and not yet escaped; a value of an
unexpected type is shown as text or omitted, never an error.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import nan
from pathlib import PurePath
from typing import Any

from neurolocal.config import sha256
from neurolocal.literals import Side
from neurolocal.records import TABLES
from neurolocal.render.figures import fixed, percent, strict
from neurolocal.store import Store


def subject_name(store: Store) -> str | None:
    """The name of the subject, or its path; None if the manifest has neither."""
    subject = store.manifest["subject"]
    name = subject.get("name") or subject.get("path")
    return str(name) if name else None


def run_facts(store: Store, layers: Iterable[int], side: Side) -> list[tuple[str, str]]:
    """(name, value) of the run, then of the word vectors that the layers' similarity used."""
    layers = list(layers)
    return [
        *_manifest_facts(store), *_expert_facts(store, layers), *_vector_facts(store, layers, side),
        *_coherence_facts(store, layers, side),
    ]  # fmt: skip


def made_from(store: Store, layers: Iterable[int], side: Side) -> str:
    """SHA-256 of what a report of these layers is made from: the manifest, and the inputs of every table."""
    layers = list(layers)
    inputs = {stage: [store.inputs(stage, layer, side) for layer in layers] for stage in TABLES}
    return sha256(strict([store.manifest, layers, side, inputs]))


def _manifest_facts(store: Store) -> list[tuple[str, str]]:
    manifest = store.manifest
    subject, corpus, config = (manifest[name] for name in ("subject", "corpus", "config"))
    pairs = [
        ("subject", subject_name(store)),
        ("layers × neurons", _widths(subject.get("d_mlp"))),
        ("weights", _short(subject.get("sha256"))),
        ("corpus", PurePath(str(corpus["path"])).name if corpus.get("path") else None),
        ("rows' hash", _short(corpus.get("rows_sha256"))),
        ("tokens", _count(manifest["tokens"])),
        ("rows", _count(manifest["rows"])),
        ("row length", _count(config.get("row_length"))),
        ("dtype", config.get("dtype")),
        ("collection", "whole" if manifest["complete"] else "not finished"),
    ]
    return [(name, str(value)) for name, value in pairs if value not in (None, "")]


def _expert_facts(store: Store, layers: Iterable[int]) -> list[tuple[str, str]]:
    """How many experts the layers have, and how unevenly they are asked; empty without experts."""
    found = [(one, store.statistics(layer).count) for layer in layers if (one := store.experts(layer)) is not None]
    shares = [int(n) / max(count, 1) for one, count in found for n in one.count[: len(one.count) - one.shared]]
    if not shares:
        return []
    routed = sorted({len(one.count) - one.shared for one, _ in found})
    beside = " and a shared one" if any(one.shared for one, _ in found) else ""
    return [
        ("experts a layer", f"{', '.join(map(str, routed))}{beside}"),
        ("positions routed to an expert", f"{percent(min(shares))} to {percent(max(shares))}"),
    ]


def _vector_facts(store: Store, layers: Iterable[int], side: Side) -> list[tuple[str, str]]:
    """How well the word vectors agree with people; each distinct pair once, so layers that agree share a line."""
    pairs: dict[tuple[str, str], None] = {}
    for layer in layers:
        facts = _table(_table(store.inputs("similarity", layer, side)).get("facts"))
        if facts:
            correlations = (_number(_table(facts.get(name)).get("spearman")) for name in ("wordsim353", "simlex999"))
            coverage = _number(_table(facts.get("coverage")).get("tokens"))
            pairs[("word vectors", str(facts.get("name")))] = None
            pairs[("WordSim-353 · SimLex-999", " · ".join(map(fixed, correlations)))] = None
            pairs[("running words with a vector", percent(coverage))] = None
    return list(pairs)


def _coherence_facts(store: Store, layers: Iterable[int], side: Side) -> list[tuple[str, str]]:
    """How many neurons are coherent in all layers, and how many are by chance alone; empty for stores without these."""
    facts = [_table(_table(store.inputs("similarity", layer, side)).get("facts")) for layer in layers]
    pairs = [(_table(one.get("coherent")), _table(one.get("dealt"))) for one in facts if "dealt" in one]
    numbers = [[one.get(name) for one in pair for name in ("kept", "neurons")] for pair in pairs]
    if not numbers or not all(isinstance(n, int) for one in numbers for n in one):
        return []
    kept, neurons, dealt, of = (sum(column) for column in zip(*numbers, strict=True))
    return [
        ("coherent neurons", f"{kept:,} of {neurons:,}"),
        ("the same, examples dealt at random", f"{dealt:,} of {of:,}"),
    ]


def _widths(widths: Any) -> str | None:
    """The numbers of layers and of neurons a layer, `30 × 1,536`; a range if the layers differ in width."""
    if not isinstance(widths, list) or not widths or not all(isinstance(n, int) for n in widths):
        return None
    least, most = min(widths), max(widths)
    return f"{len(widths)} × {most:,}" if least == most else f"{len(widths)} × {least:,} to {most:,}"


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else nan


def _short(digest: Any) -> str | None:
    return f"{str(digest)[:12]}…" if digest else None


def _count(value: Any) -> str | None:
    return f"{value:,}" if isinstance(value, int) else None
