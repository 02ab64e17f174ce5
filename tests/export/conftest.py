"""Two small stores: one with every kind of dataset, and one whose rows, windows and statistics agree."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path[:0] = [str(Path(__file__).parents[1] / room) for room in ("report", "store", "neuroscope")]

from report_twins import SmallStore  # noqa: E402
from store_twins import evidence, made_up  # noqa: E402

from neurolocal.export.table_files import export_tables  # noqa: E402
from neurolocal.store import Store, add_evidence, write_collected  # noqa: E402


@pytest.fixture(scope="session")
def full_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Any lists, statistics, sample, sign cases, logit effects and evidence; strings with NUL and line breaks."""
    rng, path = np.random.default_rng(0), tmp_path_factory.mktemp("full") / "full.h5"
    neurons = np.array([1, 4, 5, 9])
    write_collected(path, made_up(rng, cases=True, effects=True, neurons=neurons))
    tables = evidence(rng)
    for *_, table, _ in tables:
        inner: list[Any] = [one for one in vars(table).values() if is_dataclass(one)]
        for one in (table, *inner):
            one.neuron[:] = neurons[one.neuron]
    add_evidence(path, tables, site="post")
    with Store(path) as store:
        yield store


@pytest.fixture(scope="session")
def full_export(full_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All tables of the full store: `parquet/` and `csv/`."""
    folder = tmp_path_factory.mktemp("exported")
    for format in ("parquet", "csv"):
        export_tables(full_store, folder / format, format=format, bar=False)
    return folder


@pytest.fixture(scope="session")
def small_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Store]]:
    """Open a `SmallStore` with some settings, once for all tests; nothing writes to it."""
    opened: list[Store] = []

    @cache
    def make(**settings: Any) -> Store:
        opened.append(Store(SmallStore(**settings).write(tmp_path_factory.mktemp("small") / "small.h5")))
        return opened[-1]

    yield make
    for store in opened:
        store.close()


@pytest.fixture(scope="session")
def collected(fixtures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that the pipeline made of stories260k, with a prepended BOS."""
    from small_run import write_corpus

    from neurolocal.config import CollectConfig
    from neurolocal.pipeline.collect import Collection, collect_store
    from neurolocal.subject import load_subject

    folder = tmp_path_factory.mktemp("collected")
    config = CollectConfig(row_length=24, k=4, before=9, after=4, sample=30, logits=0, layers=(1, 3))
    corpus, subject = write_corpus(folder / "corpus.jsonl"), load_subject(str(fixtures / "stories260k"))
    collect_store(Collection(subject, corpus, folder / "s.h5", config), say=lambda line: None, bar=False)
    return folder / "s.h5"
