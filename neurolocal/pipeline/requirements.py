"""What a collection or a run needs, checked before anything heavy is imported: paths, names, packages, settings.

Invariant: nothing is computed or written. What only the loaded model can tell is not checked here.
Cost: looking at files; opening the store where there is one. Neither torch nor the model is loaded.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

from neurolocal.config import CollectConfig, differences
from neurolocal.errors import ConfigError, StoreError
from neurolocal.files import require_place
from neurolocal.literals import CASES
from neurolocal.pipeline.manifest import LATER
from neurolocal.storage import Address

if TYPE_CHECKING:
    from neurolocal.pipeline.run import Run


def require_collection(
    subject: str, corpus: Path | Address, store: Path, config: CollectConfig, *, tokenizer: str | None = None
) -> None:
    """Check what a collection is made from, and where it goes.

    Raises:
        NeurolocalError: no such subject, tokenizer or corpus; layers that the subject does not have; the store cannot
            be written.
    """
    from neurolocal.corpus import corpus_files
    from neurolocal.subject.locate import require_subject

    require_subject(subject, layers=config.layers, tokenizer=tokenizer)
    corpus_files(corpus)
    require_place(store, doing="collecting into", error=StoreError)


def require_same_settings(store: Path, config: CollectConfig, *, row_length: bool) -> None:
    """Refuse to collect into a store of other settings.

    Args:
        store: the path, at which nothing need be.
        config: the settings of the collection.
        row_length: whether the length of rows is known yet.

    Raises:
        StoreError: it is no store, or one of other settings.
    """
    if not store.exists():
        return
    from neurolocal.store import Store

    with Store(store) as there:
        stated = there.manifest.get("config")
    if not isinstance(stated, dict):  # the collection says what is wrong with it
        return
    old = LATER | stated
    new = json.loads(json.dumps(dataclasses.asdict(config)))
    unknown = {name for name, known in (("sites", config.sites is not None), ("row_length", row_length)) if not known}
    before, after = ({"config": {k: v for k, v in one.items() if k not in unknown}} for one in (old, new))
    if differ := differences(before, after):
        raise StoreError(
            f"collecting into {store}: it was made from something else ({'; '.join(differ[:4])}). "
            "Give another --store, or delete this one."
        )


def require_run(run: Run, *, needs_llm: bool) -> None:
    """Check every path and name of a run, and what its tables ask of each other.

    Raises:
        NeurolocalError: something is missing, the store or a report cannot be written, or the analysis asks for what
            the collection will not hold.
    """
    from neurolocal.llm import require_llm
    from neurolocal.similarity import require_vectors
    from neurolocal.subject.locate import require_subject

    config = run.collect
    if run.layers is not None and config.layers is not None and (extra := sorted({*run.layers} - {*config.layers})):
        raise ConfigError(
            f"[run] layers = {list(run.layers)} with [collect] layers = {list(config.layers)}: "
            f"layers {', '.join(map(str, extra))} would not be collected. Add them to [collect], or leave them out of "
            "[run]."
        )
    if not config.sign_cases and (cases := [side for side in run.sides if side in CASES]):
        raise ConfigError(f"[run] sides = {json.dumps(cases)}: sign cases need sign_cases = true in [collect]")
    require_collection(run.subject, run.corpus, run.store, config, tokenizer=run.tokenizer)
    require_subject(run.subject, layers=run.layers)
    for place in (run.json, run.page):
        require_place(place, doing="writing", error=StoreError)
    require_vectors(run.vectors)
    if run.llm is not None and needs_llm:
        require_llm(run.llm)
