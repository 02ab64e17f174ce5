"""A small collection of stories260k, and all that its store contains: what the tests of collections share."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from neurolocal.config import CollectConfig
from neurolocal.pipeline.collect import Collection, collect_store
from neurolocal.store import Store

CONFIG = {
    "logits": 0,
    "sample": 40,
    "row_length": 32,
    "k": 5,
    "before": 6,
    "after": 3,
    "batch_size": 4,
    "layers": (0, 2, 4),
}


def lines(n):
    rng = np.random.default_rng(7)
    words = ["cat", "dog", "Lily", "ran", "happy", "the", "ball", "red", "said", "and", "big", "tree", "sun"]
    texts = [" ".join(rng.choice(words, 60)) + "." for _ in range(n)]
    return [json.dumps({"text": t}) if i % 5 != 3 else "broken" for i, t in enumerate(texts)]


def run(subject, corpus, store, *, said=None, stop=lambda: False, every=None, replace=False, **config):
    job = Collection(subject, Path(corpus), store, CollectConfig(**(CONFIG | config)))
    say = (lambda line: None) if said is None else said.append
    return collect_store(job, say=say, stop=stop, every=every, bar=False, replace=replace)


def content(path, *, manifest=True):
    """Every dataset's type and bytes, and the manifest without paths."""
    found: dict[str, Any] = {}

    def see(name, place):
        if isinstance(place, h5py.Dataset):
            found[name] = (place.dtype.str, place.shape, np.asarray(place[()]).tobytes())

    with h5py.File(path) as file:
        file.visititems(see)
    if manifest:
        with Store(path) as store:
            found["manifest"] = store.manifest
    return found


def after(n):
    """A stop callback that says yes the n-th time."""
    left = iter([False] * (n - 1) + [True] * 99)
    return lambda: next(left)
