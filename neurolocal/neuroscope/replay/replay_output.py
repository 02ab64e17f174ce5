"""The result of a replay in words, as JSON, and on a terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from rich.table import Table
from rich.text import Text

from neurolocal.neuroscope.replay.hypothesis import Fit, ReplayResult
from neurolocal.render.figures import strict
from neurolocal.render.terminal import Out, console
from neurolocal.render.visible import visible


def conclusion(found: ReplayResult) -> str:
    """The result in a sentence."""
    asked, fits = found.asked, found.fits
    if found.level == "nothing":
        near = ", ".join(fits.way.unlike(asked.way)) or "the subject as it is"
        return (
            f"nothing that was tried fits: other weights, or another tokenizer. Nearest: {near} (correlation "
            f"{fits.correlation:.3f}). Try other checkpoints with --also (of Pythia, Neuroscope has today's -v0)."
        )
    if fits.way == asked.way:
        within = "float32" if found.level == "float32" else f"what {found.level} rounds"
        return f"{asked.way.subject} agrees with the store, within {within}."
    differences = "; ".join(fits.way.unlike(asked.way))
    return f"{asked.way.subject} as it is does not agree with the store. This fits: {differences}."


def print_replay(
    found: ReplayResult, *, out: Out, limit: int = 10, width: int | None = None, color: bool | None = None
) -> None:
    """Print the conclusion, its figures, the hypotheses that were tried, and the neurons that differ most."""
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
                f"left out: {found.left_out:,} texts whose peak is behind a token with no known id "
                f"({found.absent:,} tokens that the tokenizer does not have, {found.ambiguous:,} ambiguous)"
            )
        )
    if len(found.tried) > 1:
        screen.print(_hypotheses(found.tried[:8]))
    if limit and found.neurons and found.neurons[0].largest > 0:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
        for name in ("layer", "neuron", "texts", "same peak", "largest difference", "of its largest", "correlation"):
            table.add_column(name, justify="right", no_wrap=True)
        for n in found.neurons[:limit]:
            figures = (n.layer, n.neuron, n.texts, n.same_peak, f"{n.largest:.3g}", f"{n.relative:.2g}")
            table.add_row(*map(str, figures), f"{n.correlation:.6f}")
        screen.print(Text("\nneurons that differ most", style="dim"))
        screen.print(table)


def _hypotheses(tried: Sequence[Fit]) -> Table:
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


def replay_json(found: ReplayResult) -> str:
    """The result as one JSON object; unknown figures are null."""
    plain = asdict(found)
    for one, tried in ((plain["asked"], found.asked), (plain["fits"], found.fits)):
        one["way"] = tried.way._asdict()
    plain["tried"] = [asdict(t) | {"way": t.way._asdict()} for t in found.tried]
    summary = {"agrees": found.agrees, "level": found.level, "conclusion": conclusion(found)}
    return json.dumps(strict({**summary, **plain}))
