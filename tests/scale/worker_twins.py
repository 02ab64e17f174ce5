"""A corpus, and a collection of it by workers that are threads: what the tests of the driver use in place of Ray."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from task_twins import NEVER, Fault, ThreadPool

from neurolocal.config import CollectConfig, ScaleConfig
from neurolocal.scale.driver import Driver
from neurolocal.scale.worker import CollectRequest, Worker

SETTINGS = {"logits": 3, "sample": 40, "row_length": 32, "k": 5, "before": 6, "after": 3, "batch_size": 4,
            "layers": (0, 2)}  # fmt: skip


def write_text(path: Path, n: int = 25) -> Path:
    rng = np.random.default_rng(7)
    words = ["cat", "dog", "Lily", "ran", "happy", "the", "ball", "red", "said", "and", "big", "tree", "sun"]
    texts = [" ".join(rng.choice(words, 60)) + "." for _ in range(n)]
    path.write_text("\n".join(json.dumps({"text": t}) if i % 5 != 3 else "broken" for i, t in enumerate(texts)))
    return path


def pool_of(request: CollectRequest, subject: Any, fault: Fault = lambda *_: None) -> ThreadPool:
    """Workers for whom the subject is loaded once."""

    def make() -> Worker:
        made = Worker(request, threads=None)
        made._subject = subject
        made._load = lambda: None
        return made

    return ThreadPool(make, fault)


def drive(
    subject: Any, corpus: Path, store: Path, *, said: list[str] | None = None, fault: Fault = lambda *_: None,
    workers: int = 2, replace: bool = False, config: dict[str, Any] | None = None, pool: Any = None, **scale: Any,
) -> Any:  # fmt: skip
    request = CollectRequest(str(subject.name), corpus, store, CollectConfig(**(SETTINGS | (config or {}))))
    pool = pool or pool_of(request, subject, fault)
    scale = {"engine": "ray", "shards": 4, "slow": NEVER} | scale
    say = (lambda line: None) if said is None else said.append
    driver = Driver(pool, request, ScaleConfig(**scale), workers=workers, say=say, bar=False)
    return driver.run(replace=replace)
