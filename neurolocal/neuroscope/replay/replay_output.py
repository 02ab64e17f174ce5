"""The result of a replay in words, as JSON, and on a terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from rich.table import Table
from rich.text import Text

from neurolocal.neuroscope.replay.hypothesis import Fit
from neurolocal.neuroscope.replay.layers import LayerFit
from neurolocal.neuroscope.replay.replay_result import ReplayResult
from neurolocal.render.figures import number, strict
from neurolocal.render.terminal import Out, console
from neurolocal.render.visible import visible


def conclusion(found: ReplayResult) -> str:
    """The result in a sentence."""
    asked, fits = found.asked, found.fits
    if found.level == "unknown":
        return f"too little to judge by: {_left_out(found)}"
    if found.level == "nothing":
        near = ", ".join(fits.way.unlike(asked.way)) or "the subject as it is"
        return (
            f"nothing that was tried fits: other weights, or another tokenizer. Nearest: {near} (correlation "
            f"{_correlation(fits.correlation)}). {_why(found)}{found.spaces}Try other checkpoints with --also "
            "(of Pythia, Neuroscope has today's -v0)."
        )
    if fits.way == asked.way and found.same:
        to = f"to {found.relative:.1g} of a neuron's largest activation" if found.relative > 0 else "to float32"
        within = ", within float32" if fits.way.dtype == "float32" else f", in {fits.way.dtype}"
        return f"{asked.way.subject} agrees with the store{within}: the same {to}."
    if fits.way == asked.way:
        return (
            f"{asked.way.subject} agrees with the store, within what {found.level} rounds: every layer differs as the "
            "same weights do."
        )
    differences = "; ".join(fits.way.unlike(asked.way))
    return f"{asked.way.subject} as it is does not agree with the store. This fits: {differences}."


def _left_out(found: ReplayResult) -> str:
    """Why too few texts were compared."""
    total, name = found.texts + found.left_out, found.asked.way.subject
    if not found.left_out:
        return (
            f"{found.texts:,} texts do not tell {found.rounding}'s rounding from other weights. Compare more of them."
        )
    return (
        f"of {total:,} texts {found.left_out:,} are left out, because their peak is behind a token whose id is not "
        f"known ({name}'s tokenizer lacks {found.absent:,} of the pages' tokens, {found.ambiguous:,} are ambiguous). "
        f"{found.spaces}Give the tokenizer of the pages with --tokenizer."
    )


def _why(found: ReplayResult) -> str:
    """Which layers do not agree, and by what they were judged."""
    wrong = [one for one in found.layers if one.why]
    exact = [one.layer for one in found.layers if not one.why and one.exact == 1]
    judged = "The pages state float32, which rounds to less than 0.0001. " if found.stated == "float32" else ""
    if exact and wrong and len(found.layers) > 1:
        judged += f"Layer{'s' if len(exact) > 1 else ''} {', '.join(map(str, exact[:8]))} agree exactly. "
    worst = max(wrong, key=lambda one: one.size if one.size == one.size else one.error)
    return f"{judged}{worst.why[:1].upper()}{worst.why[1:]}. "


def _correlation(r: float) -> str:
    return f"{r:.3f}" if r == r else "unknown"


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
            f"correlation {_six(found.asked.correlation)} · {found.asked.agree:.1%} of the texts within the tolerance"
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
    if found.layers and not found.same:
        screen.print(
            Text("\nlayers" + (f", judged by what {found.rounding} rounds" if found.rounding else ""), style="dim")
        )
        screen.print(_layers(found.layers))
    if limit and found.neurons and found.neurons[0].largest > 0:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
        for name in ("layer", "neuron", "texts", "same peak", "largest difference", "of its largest", "correlation"):
            table.add_column(name, justify="right", no_wrap=True)
        for n in found.neurons[:limit]:
            figures = (n.layer, n.neuron, n.texts, n.same_peak, f"{n.largest:.3g}", f"{n.relative:.2g}")
            table.add_row(*map(str, figures), _six(n.correlation))
        screen.print(Text("\nneurons that differ most", style="dim"))
        screen.print(table)


def _six(r: float) -> str:
    return f"{r:.6f}" if r == r else "unknown"


def _layers(layers: Sequence[LayerFit]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for name in ("layer", "texts", "exact", "error", "largest", "of rounding", "shared"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for one in layers:
        table.add_row(
            str(one.layer), f"{one.texts:,}", f"{one.exact:.0%}", f"{one.error:.2g}", f"{one.largest:.2g}",
            number(one.size), number(one.shared), "differs" if one.why else "as expected",
        )  # fmt: skip
    return table


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
            f"{one.error:.2g}", f"{one.agree:.0%}", _correlation(one.correlation),
        )  # fmt: skip
    return table


def replay_json(found: ReplayResult) -> str:
    """The result as one JSON object; unknown figures are null."""
    plain = asdict(found)
    for one, tried in ((plain["asked"], found.asked), (plain["fits"], found.fits)):
        one["way"] = tried.way._asdict()
    plain["tried"] = [asdict(t) | {"way": t.way._asdict()} for t in found.tried]
    plain["layers"] = [one._asdict() for one in found.layers]
    summary = {"agrees": found.agrees, "level": found.level, "same": found.same, "conclusion": conclusion(found)}
    return json.dumps(strict({**summary, **plain}))
