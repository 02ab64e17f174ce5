"""Automatic, offline interpretation of a language model's neurons.

The public names, each loaded when it is first used (PEP 562), so that `import neurolocal` loads no heavy package:

    from pathlib import Path

    from neurolocal import CollectConfig, Collection, SimilarityConfig, Store, Workspace
    from neurolocal import collect_store, load_subject, run_stage

    subject = load_subject("./pythia-70m")
    collect_store(Collection(subject, Path("pile/"), Path("pythia.h5"), CollectConfig()), say=print)
    run_stage("similarity", Workspace(Path("pythia.h5"), layers=(3,)), SimilarityConfig())
    with Store("pythia.h5") as store:
        store.examples(3, 159)           # list[Example]
        store.evidence("similarity", 3)  # SimilarityTable
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neurolocal.config import CollectConfig as CollectConfig
    from neurolocal.config import PerturbationConfig as PerturbationConfig
    from neurolocal.config import ScoreConfig as ScoreConfig
    from neurolocal.config import SimilarityConfig as SimilarityConfig
    from neurolocal.config import SummaryConfig as SummaryConfig
    from neurolocal.config import VerdictConfig as VerdictConfig
    from neurolocal.errors import NeurolocalError as NeurolocalError
    from neurolocal.notebook import open_store as open_store
    from neurolocal.pipeline.collect import collect_store as collect_store
    from neurolocal.pipeline.manifest import Collection as Collection
    from neurolocal.pipeline.stages import run_stage as run_stage
    from neurolocal.pipeline.workspace import Workspace as Workspace
    from neurolocal.records import Example as Example
    from neurolocal.records import PerturbationTable as PerturbationTable
    from neurolocal.records import ScoreTable as ScoreTable
    from neurolocal.records import SimilarityTable as SimilarityTable
    from neurolocal.records import Statistics as Statistics
    from neurolocal.records import SummaryTable as SummaryTable
    from neurolocal.records import TopK as TopK
    from neurolocal.records import VerdictTable as VerdictTable
    from neurolocal.stage import Stage as Stage
    from neurolocal.store import Store as Store
    from neurolocal.subject import Subject as Subject
    from neurolocal.subject import load_subject as load_subject
    from neurolocal.words import Vocabulary as Vocabulary

_NAMES = {
    "config": "CollectConfig PerturbationConfig ScoreConfig SimilarityConfig SummaryConfig VerdictConfig",
    "errors": "NeurolocalError",
    "notebook": "open_store",
    "pipeline.collect": "collect_store",
    "pipeline.manifest": "Collection",
    "pipeline.stages": "run_stage",
    "pipeline.workspace": "Workspace",
    "records": "Example PerturbationTable ScoreTable SimilarityTable Statistics SummaryTable TopK VerdictTable",
    "stage": "Stage",
    "store": "Store",
    "subject": "Subject load_subject",
    "words": "Vocabulary",
}
"""Module -> the public names that it holds."""

_MODULE = {name: module for module, names in _NAMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name not in _MODULE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE})
