"""A replay from its command: which subject, in what dtype, what was found in words, and the store in its token ids."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from rich.table import Table
from rich.text import Text

from neurolocal.errors import StoreError
from neurolocal.neuroscope.adopt import adopt
from neurolocal.neuroscope.adopt import require_new as require_new
from neurolocal.neuroscope.replay import Replayed, Tried, replay
from neurolocal.records import Site
from neurolocal.render.figures import strict
from neurolocal.render.terminal import Out, console
from neurolocal.render.visible import visible
from neurolocal.store import Store
from neurolocal.subject import Subject, load_subject


@dataclass(frozen=True)
class Job:
    """What a replay works with."""

    store: Store
    subject: str | None = None
    """None is the one that the store names."""
    tokenizer: str | None = None
    dtype: str | None = None
    """None is the store's; `float32` where its pages do not say."""
    device: str | None = None

    @property
    def wanted(self) -> str:
        """The subject's name or path.

        Raises:
            StoreError: nobody names it.
        """
        named = self.subject or self.store.manifest["subject"].get("path")
        if not named:
            raise StoreError(
                f"replaying {self.store.path}: its pages name {self.store.manifest['subject'].get('name')!r} and not "
                "where that lies. Give --subject with a model folder, a .gguf file or a name in the hub cache."
            )
        return named

    def load(self, name: str | None, dtype: str) -> Subject:
        """A subject; the one asked for where none is named."""
        return load_subject(
            name or self.wanted, dtype=cast("Any", dtype), device=self.device,
            tokenizer=self.tokenizer or self.store.manifest["tokenizer"].get("path"),
        )  # fmt: skip


def run(
    job: Job, *, texts: int | None, seed: int = 0, others: Sequence[str] = (), say: Callable[[str], None] = print,
    bar: bool = True,
) -> Replayed:  # fmt: skip
    """Replay; beside `others` also the checkpoint before or after Pythia's re-release is tried, where it lies near."""
    dtype = job.dtype or job.store.manifest["config"].get("dtype") or "float32"
    return replay(
        job.store, job.load, dtype=dtype, texts=texts, seed=seed, others=[*others, *_near(job.wanted)], say=say, bar=bar
    )


def write(job: Job, found: Replayed, out: Path, *, say: Callable[[str], None]) -> None:
    """Write the store in the subject's token ids.

    Raises:
        StoreError: the store was collected, `out` is there, or no example can be put into ids.
    """
    dtype = found.fits.way.dtype if found.fits.way.dtype != "autocast" else "float32"
    if len(job.store.sites) > 1:
        say(f"replay: of {', '.join(job.store.sites)} the site {found.fits.way.site} alone is written to {out}")
    done = adopt(job.store, job.load(None, dtype), out, dtype=dtype, site=cast("Site", found.fits.way.site))
    left = f", {done.left_out:,} left out behind tokens with no known id" if done.left_out else ""
    cut = f", {done.cut:,} rows cut there" if done.cut else ""
    say(f"replay: {done.examples:,} examples{left}{cut}; {out}")


def _near(name: str) -> list[str]:
    """Pythia was trained again under the old names in 2023; Neuroscope's pages are of what is `-v0` today."""
    if "pythia" not in name.lower():
        return []
    other = name.removesuffix("/").removesuffix("-v0") if name.rstrip("/").endswith("-v0") else f"{name.rstrip('/')}-v0"
    return [other] if Path(other).exists() or not Path(name).exists() else []


def conclusion(found: Replayed) -> str:
    """What the replay says, in a sentence."""
    asked, fits = found.asked, found.fits
    if found.level == "nothing":
        near = ", ".join(fits.way.unlike(asked.way)) or "the subject as it stands"
        return (
            f"nothing that was tried fits: other weights, or another tokenizer. Nearest: {near} (correlation "
            f"{fits.correlation:.3f}). Try other checkpoints with --also (of Pythia, Neuroscope has today's -v0)."
        )
    if fits.way == asked.way:
        within = "float32" if found.level == "float32" else f"what {found.level} rounds"
        return f"{asked.way.subject} says what the store says, within {within}."
    said = "; ".join(fits.way.unlike(asked.way))
    return f"{asked.way.subject} as it stands does not say what the store says. This fits: {said}."


def print_replay(
    found: Replayed, *, out: Out, limit: int = 10, width: int | None = None, color: bool | None = None
) -> None:
    """The conclusion, the figures behind it, the ways that were tried, and the neurons that differ most."""
    screen = console(out, width=width, color=color)
    screen.print(Text(visible(conclusion(found)), style="bold"))
    screen.print(
        Text(
            f"{found.texts:,} texts, {found.activations:,} activations: strongest token the same in "
            f"{found.same_peak:,} · largest difference {found.largest:.3g} "
            f"({found.relative:.2g} of its neuron's largest activation) · "
            f"correlation {found.asked.correlation:.6f} · {found.asked.agree:.1%} of the texts within the tolerance"
        )
    )
    if found.left_out or found.absent or found.ambiguous:
        screen.print(
            Text(
                f"left out: {found.left_out:,} texts whose peak stands behind a token with no known id "
                f"({found.absent:,} tokens that the tokenizer does not have, {found.ambiguous:,} ambiguous)"
            )
        )
    if len(found.tried) > 1:
        screen.print(_ways(found.tried[:8]))
    if limit and found.neurons and found.neurons[0].largest > 0:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
        for name in ("layer", "neuron", "texts", "same peak", "largest difference", "of its largest", "correlation"):
            table.add_column(name, justify="right", no_wrap=True)
        for n in found.neurons[:limit]:
            figures = (n.layer, n.neuron, n.texts, n.same_peak, f"{n.largest:.3g}", f"{n.relative:.2g}")
            table.add_row(*map(str, figures), f"{n.correlation:.6f}")
        screen.print(Text("\nneurons that differ most", style="dim"))
        screen.print(table)


def _ways(tried: Sequence[Tried]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for name in ("subject", "dtype", "BOS", "site", "shift"):
        table.add_column(name, no_wrap=True, overflow="ellipsis")
    for name in ("error", "agree", "correlation"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in tried:
        way = one.way
        table.add_row(
            Text(visible(way.subject, limit=40)), way.dtype, way.bos, way.site, f"{way.shift:+d}" if way.shift else "",
            f"{one.error:.2g}", f"{one.agree:.0%}", f"{one.correlation:.4f}",
        )  # fmt: skip
    return table


def replay_json(found: Replayed) -> str:
    """All of it as one JSON object; unknown figures are null."""

    plain = asdict(found)
    for one, tried in ((plain["asked"], found.asked), (plain["fits"], found.fits)):
        one["way"] = tried.way._asdict()
    plain["tried"] = [asdict(t) | {"way": t.way._asdict()} for t in found.tried]
    said = {"agrees": found.agrees, "level": found.level, "conclusion": conclusion(found)}
    return json.dumps(strict({**said, **plain}))
