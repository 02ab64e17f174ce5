"""Settings that a subject cannot meet are refused; checkpoints are written when due, at a stop and at an error."""

import copy
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from neurolocal.collect import CHECKPOINT_SECONDS, collect, resolved, start
from neurolocal.collect.state import LayerState
from neurolocal.config import CollectConfig
from neurolocal.errors import ConfigError, CorpusError, StoreError
from neurolocal.provenance import Parts
from neurolocal.words import Vocabulary


class Toy:
    """Two layers of three neurons; neuron j of layer i is i + j + the token."""

    n_layers, d_mlp, gated = 2, [3, 3], False
    sites = ("post", "pre")
    vocabulary = Vocabulary([bytes([i]) for i in range(9)], np.zeros(9, bool))

    def device_of(self, layer: int) -> torch.device:
        return torch.device("cpu")

    def experts_of(self, layer: int) -> None:
        return None

    def read(self, tokens, readers, *, sites, routed) -> None:
        for layer, reader in readers.items():
            reader(*[tokens[:, :, None] + torch.arange(3.0) + layer for _ in sites])


CONFIG = CollectConfig(row_length=4, k=2, before=1, after=1, sample=3, bos="none", batch_size=2)


def batches(n: int) -> Iterator[Any]:
    for i in range(n):
        rows = np.array([2 * i, 2 * i + 1])
        parts = Parts.of([1, 2], [(0, 0, int(row), 0, "") for row in rows])
        tokens = np.arange(8).reshape(2, 4)
        yield SimpleNamespace(tokens=tokens, length=np.array([4, 4]), rows=rows, parts=parts, after=i)


def run(source: Iterator[Any], **options: Any) -> tuple[Any, list[tuple[int, bool]]]:
    """A collection, and the rows and completeness of each store it wrote."""
    toy, written = Toy(), list[tuple[int, bool]]()
    config = resolved(CONFIG, toy)

    def checkpoint(contents: Any, *, complete: bool) -> dict[Any, int]:
        written.append((contents.rows, complete))
        return {("post", 1): 7}

    try:
        outcome = collect(
            toy, source, start(toy, config), config=config, checkpoint=checkpoint, bar=False, **options
        )  # fmt: skip
    except CorpusError as error:
        return error, written
    return outcome, written


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sites": ("mid",)}, "sites = mid: the subject has post, pre"),
        ({"sign_cases": True}, "the subject's MLPs have no gate"),
        ({"layers": (0, 2)}, "layers 2: the subject has layers 0 to 1"),
        ({"neurons": (1, 3)}, "neurons 1 to 3: layer 0 has neurons 0 to 2"),
    ],
)
def test_what_the_subject_does_not_have_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        resolved(CollectConfig(**settings), Toy())


def test_a_run_to_the_end_writes_one_store():
    outcome, written = run(batches(3))
    assert (outcome.rows, outcome.n_tokens, outcome.complete, outcome.checkpoints) == (6, 24, True, 1)
    assert outcome.nonfinite == {("post", 1): 7}
    assert written == [(6, True)]
    assert CHECKPOINT_SECONDS > 60


def test_checkpoints_by_rows_and_by_time():
    assert run(batches(4), every_rows=4)[1] == [(4, False), (8, False), (8, True)]
    assert run(batches(2), every=0.0)[1] == [(2, False), (4, False), (4, True)]


def test_a_stop_writes_a_checkpoint_after_the_batch():
    outcome, written = run(batches(9), stop=iter([False, True]).__next__)
    assert not outcome.complete
    assert written == [(4, False)]


def test_an_error_of_the_corpus_writes_what_came_before():
    def broken() -> Iterator[Any]:
        yield from batches(2)
        raise CorpusError("the file is gone")

    error, written = run(broken())
    assert "gone" in str(error)
    assert written == [(4, False)]


class OnDevice(LayerState):
    """A state that can be copied, as one on a GPU."""

    def frozen(self):
        return copy.deepcopy(self)


def beside(checkpoint: Any, source: Iterator[Any], **options: Any) -> Any:
    """A collection whose checkpoints are written by another thread."""
    toy = Toy()
    config = resolved(CONFIG, toy)
    progress = start(toy, config)
    for place in progress.states:
        progress.states[place] = OnDevice(3, config)
    return collect(toy, source, progress, config=config, checkpoint=checkpoint, bar=False, **options)


def test_a_checkpoint_of_a_device_is_written_while_the_run_goes_on():
    """The first one ends only after three more batches; until then no second one begins."""
    release, written = threading.Event(), []

    def source() -> Iterator[Any]:
        for i, batch in enumerate(batches(6)):
            if i == 4:
                release.set()
                while len(written) < 1:
                    time.sleep(0.01)
            yield batch

    def checkpoint(contents: Any, *, complete: bool) -> dict[Any, int]:
        if not written:
            assert release.wait(600)
        records = dict(contents.records())
        written.append((contents.rows, complete, {place: r.lists["largest"].row.max() for place, r in records.items()}))
        assert contents.token_count.sum() == contents.n_tokens == 4 * contents.rows
        return {}

    outcome = beside(checkpoint, source(), every_rows=2)
    assert (outcome.rows, outcome.complete) == (12, True)
    assert written[0][:2] == (2, False)
    assert written[-1][:2] == (12, True)
    assert (4, False) not in [entry[:2] for entry in written]  # the first one was not done yet
    for rows, _, highest in written:
        assert set(highest.values()) <= set(range(rows))  # nothing of a later batch
    assert set(written[0][2].values()) == {1}


def test_what_a_checkpoint_beside_the_run_raises_ends_the_run():
    def checkpoint(contents: Any, *, complete: bool) -> dict[Any, int]:
        raise StoreError("writing out.h5: the disk is full")

    with pytest.raises(StoreError, match="the disk is full"):
        beside(checkpoint, batches(50), every_rows=2)
