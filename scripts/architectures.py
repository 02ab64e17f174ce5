"""Write the table of architectures into the subject's README: each loaded as a user would, against a reference.

    python scripts/architectures.py           # print the table
    python scripts/architectures.py --write   # put it between the markers in neurolocal/subject/README.md

Invariant: every difference is computed by the functions that the tests in `tests/subject` assert with. A test compares
the names in the README with theirs. Cost: two minutes on 2 cores; tiny random models, no network.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

ROOT = Path(__file__).parents[1]
README = ROOT / "neurolocal" / "subject" / "README.md"
BEGIN, END = "<!-- architectures -->", "<!-- end architectures -->"
sys.path.insert(0, str(ROOT / "tests" / "subject"))

from architecture_kinds import ARCHITECTURES, WRAPPERS, Kind  # noqa: E402
from architecture_twins import build, largest_difference, packed_difference, plain, rows  # noqa: E402
from legacy_twins import CONFIG, bridge_site, native_bridge, random_weights, write_legacy  # noqa: E402
from markers import filled  # noqa: E402
from subject_twins import numbered, save_folder  # noqa: E402

from neurolocal.subject import load_subject  # noqa: E402

COLUMNS = ("architecture", "loaded from", "tokenizer", "held against", "activations", "branches")


class Line(NamedTuple):
    """A line of the table."""

    name: str
    """Of the architecture."""
    source: str
    """What it was loaded from."""
    tokenizer: str
    """The kind of the tokenizer that it was loaded with."""
    reference: str
    """What it was held against."""
    activations: float
    """Largest difference of all sites and layers, relative to the largest activation of each."""
    branches: float | None = None
    """The same of branches that run side by side; None where it was not asked."""
    packs: bool = True
    """False where plain batches are run instead."""


def main() -> None:
    """Print the table, or write it."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["NEUROLOCAL_CACHE"] = scratch
        text = table(list(lines(Path(scratch))))
    if "--write" in sys.argv:
        README.write_text(filled(README.read_text(encoding="utf-8"), BEGIN, END, text), encoding="utf-8")
    else:
        print(text)


def lines(scratch: Path) -> Iterator[Line]:
    """Every architecture, in the order of the tests."""
    for source, kinds in (("folder", ARCHITECTURES), ("folder, the text part", WRAPPERS)):
        for name, kind in kinds.items():
            yield from_folder(name, kind, source, scratch / name.replace("/", "-"))
    yield from_checkpoint(scratch / "checkpoint")
    yield from from_gguf()


def from_folder(name: str, kind: Kind, source: str, folder: Path) -> Line:
    """A random model, saved and loaded."""
    rng = np.random.default_rng(0)
    model = build(name, seed=0)
    subject = load_subject(save_folder(model, folder), device="cpu")
    found = largest_difference(subject, model, rows(rng), kind.places)
    branches, packs = packed_difference(subject, model, kind.places, rng)
    how = "eager attention" if kind.eager else "fast attention"
    return Line(name, source, subject.tokenizer.kind, f"plain hooks, {how}", found, branches, packs)


def from_checkpoint(folder: Path) -> Line:
    """A SoLU model in TransformerLens's own format."""
    weights = random_weights(CONFIG, seed=0)
    write_legacy(folder, CONFIG, weights, tokenizer_from=None)
    numbered(CONFIG["d_vocab"]).save(folder)
    subject = load_subject(folder, device="cpu")
    tokens = torch.from_numpy(np.random.default_rng(0).integers(0, 250, (2, 40)))
    bridge = native_bridge(CONFIG, weights)
    worst = 0.0
    for site in subject.sites:
        for layer, true in enumerate(bridge_site(bridge, tokens, site)):
            difference = (subject.activations(tokens, layer, site) - true).abs().max()
            worst = max(worst, float(difference / true.abs().max()))
    kind, source = subject.tokenizer.kind, "checkpoint (.pth)"
    return Line("SoLU (TransformerLens)", source, kind, "TransformerLens's own model", worst)


def from_gguf() -> Iterator[Line]:
    """A small trained model as a GGUF, against the folder of the same weights; nothing without the fixtures."""
    fixtures = Path(os.environ.get("NEUROLOCAL_FIXTURES", ROOT.parent / "shared" / "fixtures")) / "stories260k"
    if not fixtures.is_dir():
        return
    kind = ARCHITECTURES["Llama"]
    subject, folder = (load_subject(path, device="cpu") for path in (fixtures / "stories260K.gguf", fixtures))
    tokens = rows(np.random.default_rng(0))[:1]
    true = plain(folder.model, tokens, kind.places, subject.sites)
    worst = max(
        float((subject.activations(tokens, layer, site) - one).abs().max() / one.abs().max())
        for (layer, site), one in true.items()
    )
    words = subject.tokenizer.kind
    yield Line("Llama (stories260K)", "GGUF", words, "plain hooks on the folder of the same weights", worst)


def table(found: list[Line]) -> str:
    """The table in Markdown."""
    text = [f"| {' | '.join(COLUMNS)} |", f"|{' --- |' * len(COLUMNS)}"]
    for line in found:
        branches = shown(line.branches) if line.packs else "plain batches"
        cells = [line.name, line.source, line.tokenizer, line.reference, shown(line.activations), branches]
        text.append(f"| {' | '.join(cells)} |")
    return "\n".join(text)


def shown(difference: float | None) -> str:
    """A difference by its order of magnitude."""
    if difference is None:
        return "–"
    return f"{difference:.0e}" if difference else "0"


if __name__ == "__main__":
    main()
