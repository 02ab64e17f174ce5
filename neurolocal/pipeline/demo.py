"""The embedded default: SmolLM2-135M-Instruct on the sample corpus, described by itself.

Invariant: a run like any other; only its settings are fixed here. Cost: in the room's README.
"""

from __future__ import annotations

from pathlib import Path

from neurolocal.config import (
    CollectConfig,
    ControlConfig,
    InterventionConfig,
    PerturbationConfig,
    ScoreConfig,
    SummaryConfig,
)
from neurolocal.errors import CorpusError
from neurolocal.machine import computes_in
from neurolocal.pipeline.run import Run, run_all
from neurolocal.stage import Say

LAYERS = (4, 14, 24)
"""Layers analysed of the 30 collected: early, middle, late."""

SCREEN = 80
"""Neurons perturbed in a layer, most coherent first."""

DESCRIBED = 15
"""Neurons described in a layer."""

CHANGED = 6
"""Neurons of a layer whose activations are changed, to see what they do."""

CONTROLS = 20
"""Random neurons against each of them: 6 x 20 draws, so that one neuron alone can have a q under 0.05."""

SCORED = 4
"""Described neurons scored in a layer."""


def sample_corpus() -> Path:
    """The sample corpus, in the installed package or in the source tree.

    Raises:
        CorpusError: it is in neither.
    """
    here = Path(__file__).parents[1]
    for path in (here / "data" / "sample.jsonl.zst", here.parent / "data" / "sample.jsonl.zst"):
        if path.is_file():
            return path
    raise CorpusError(f"looking for the sample corpus: it is not in {here / 'data'}. Install the package again.")


def demo_run(store: Path, *, max_rows: int, control: bool = False) -> Run:
    """The embedded default as a run, whose store is written at `store`; `control`: also on untrained weights.

    It computes in bfloat16 where the processor can, and in float32 elsewhere, which is faster there.
    """
    from neurolocal.subject.locate import EMBEDDED, embedded_gguf

    return Run(
        subject=EMBEDDED,
        corpus=sample_corpus(),
        store=store,
        layers=LAYERS,
        sides=("largest",),
        llm=str(embedded_gguf()),
        configs={
            **({"control": ControlConfig(untrained=True)} if control else {}),
            "collect": CollectConfig(dtype="bfloat16" if computes_in("bfloat16") else "float32", max_rows=max_rows),
            "perturbation": PerturbationConfig(screen=SCREEN),
            "intervention": InterventionConfig(limit=CHANGED, examples=2, places=4, controls=CONTROLS),
            "summary": SummaryConfig(limit=DESCRIBED),
            "score": ScoreConfig(limit=SCORED, texts=4, banded=6, rows=48),
        },
    )


def run_demo(
    out: Path, *, max_rows: int, limit: int, say: Say, until: str | None = None, control: bool = False
) -> None:
    """Run everything, or up to a stage, on the embedded default; results in the folder `out`."""
    layers = ", ".join(map(str, LAYERS))
    run = demo_run(out / "store.h5", max_rows=max_rows, control=control)
    say(
        f"neurolocal demo: SmolLM2-135M-Instruct in {run.collect.dtype}, {max_rows} rows of 256 tokens of the sample "
        f"corpus, layers {layers}"
    )
    run_all(run, limit=limit, say=say, needs_llm=False, until=until)
