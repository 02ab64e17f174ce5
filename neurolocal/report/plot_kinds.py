"""The figures: verdicts by layer, maxima, coherence and neighbours beside their nulls, p and q, scores.

Each takes the data and the subject's name, and gives None where there is nothing to draw. Boxes span the quartiles, the
line in them is the median, whiskers reach from the 5th to the 95th percentile. Colours are Okabe and Ito's, which
colour-blind people can tell apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from neurolocal.literals import VERDICTS
from neurolocal.report.plot_data import PlotData
from neurolocal.report.sections import SCORES


class Look(NamedTuple):
    """How something is filled."""

    color: str
    hatch: str = ""


LOOKS = {
    "concept": Look("#009E73"),
    "grammar": Look("#F0E442", "xx"),
    "token": Look("#56B4E9", "///"),
    "form": Look("#E69F00", "..."),
    "context": Look("#CC79A7", "\\\\\\"),
    "dead": Look("#333333"),
    "unclear": Look("#BDBDBD"),
    "untested": Look("#EDEDED"),
}
"""The look of each verdict."""

MEASURED, NULL = Look("#56B4E9"), Look("#BBBBBB", "////")

UNIFORM: dict[str, Any] = {
    "color": "#D55E00", "linestyle": "--", "linewidth": 1.4, "label": "uniform: no effect", "zorder": 9,
}  # fmt: skip
"""The line that p values without any effect follow."""


def verdicts(data: PlotData, name: str) -> Figure | None:
    """Share of each layer's neurons by verdict."""
    if not data.verdicts:
        return None
    layers = sorted(data.verdicts)
    figure, axes = _figure(len(layers), legend=True)
    counts = np.array([[data.verdicts[layer][verdict] for verdict in VERDICTS] for layer in layers], float)
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    below = np.zeros(len(layers))
    for verdict, share in zip(VERDICTS, shares.T, strict=True):
        axes.bar(range(len(layers)), share, bottom=below, width=0.8, label=verdict, **_fill(LOOKS[verdict]))
        below += share
    _layer_axis(axes, layers)
    axes.set(ylabel="neurons (%)", ylim=(0, 100))
    _heading(figure, "Verdicts by layer", name)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def maxima(data: PlotData, name: str) -> Figure | None:
    """The largest activation of each neuron, by layer."""
    found = {layer: values for layer, values in data.maxima.items() if len(values)}
    if not found:
        return None
    layers = sorted(found)
    figure, axes = _figure(len(layers))
    _boxes(axes, [found[layer] for layer in layers], np.arange(len(layers)), MEASURED, width=0.6)
    ends = np.percentile(np.concatenate(list(found.values())), [1, 99])
    if ends[0] > 0 and ends[1] / ends[0] > 20:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_locator(NullLocator())
    _layer_axis(axes, layers)
    axes.set_ylabel(f"largest activation\n(mlp.hook_{data.site}, model's units)")
    _heading(figure, "Largest activation of each neuron", name)
    return figure


def coherence(data: PlotData, name: str) -> Figure | None:
    """Coherence of the peak words, beside random words."""
    return _beside_null(
        data.stages["similarity"], "score", "null_mean", name,
        title="Coherence of the peak words", unit="mean cosine of word vectors", labels=("peak words", "random words"),
    )  # fmt: skip


def neighbours(data: PlotData, name: str) -> Figure | None:
    """Share of near words that keep half of the activation, beside random words."""
    return _beside_null(
        data.stages["perturbation"], "half", "control_half", name,
        title="Substitutes of the peak word that keep half of the activation", unit="share of substitutes",
        labels=("near words", "random words"),
    )  # fmt: skip


def p_and_q(data: PlotData, name: str) -> Figure | None:
    """How many neurons have a p or q of at most x, a line a layer."""
    stages = [stage for stage, of in data.stages.items() if any(len(one["p"]) for one in of.values())]
    if not stages:
        return None
    figure = Figure(figsize=(7.6, 1.2 + 2.7 * len(stages)), layout="constrained")
    grid = figure.subplots(len(stages), 2, squeeze=False, sharex=True, sharey=True)
    layers = sorted({layer for stage in stages for layer in data.stages[stage]})
    colors = _shades(len(layers))
    for row, stage in enumerate(stages):
        for axes, kind in zip(grid[row], ("p", "q"), strict=True):
            for layer, color in zip(layers, colors, strict=True):
                values = np.sort(data.stages[stage].get(layer, {}).get(kind, np.empty(0)))
                if len(values):
                    heights = 100 * np.arange(1, len(values) + 1) / len(values)
                    x, y = np.concatenate([[0], values, [1]]), np.concatenate([[0], heights, [100]])
                    axes.step(x, y, where="post", color=color, linewidth=1.3, label=f"layer {layer}")
            if kind == "p":
                axes.plot([0, 1], [0, 100], **UNIFORM)
            axes.set_title(f"{stage}: {kind} values")
            axes.grid(axis="x")
            axes.set(xlim=(0, 1), ylim=(0, 100))
        grid[row][0].set_ylabel("neurons at or below (%)")
    for axes, kind in zip(grid[-1], ("p", "q (Benjamini-Hochberg)"), strict=True):
        axes.set_xlabel(kind)
    _heading(figure, "Tests of each neuron", name)
    _lines_legend(figure, grid[0][0], layers)
    return figure


def scores(data: PlotData, name: str) -> Figure | None:
    """Scores of the descriptions, beside those of another neuron's."""
    measures = [measure for measure in SCORES if measure in data.scores]
    if not measures:
        return None
    figure = Figure(figsize=(7.6, 1.5 + 0.62 * len(measures)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(measures))[::-1]
    for look, which, offset in ((MEASURED, 0, 0.19), (NULL, 1, -0.19)):
        known = [i for i, measure in enumerate(measures) if data.scores[measure][which]]
        columns = [np.array(data.scores[measures[i]][which]) for i in known]
        _boxes(axes, columns, places[known] + offset, look, 0.32, upright=False)
    axes.set_yticks(places, [f"{SCORES[m].name}\n(n = {len(data.scores[m][0])})" for m in measures])
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.6, len(measures) - 0.4), xlabel="score (AUC: 0.5 is chance)")
    axes.grid(axis="x")
    axes.grid(visible=False, axis="y")
    _heading(figure, "Scores of descriptions and patterns", name)
    _legend_below(figure, ("this neuron's", "another neuron's"))
    return figure


KINDS: dict[str, Callable[[PlotData, str], Figure | None]] = {
    "verdicts": verdicts,
    "maxima": maxima,
    "coherence": coherence,
    "neighbours": neighbours,
    "p_and_q": p_and_q,
    "scores": scores,
}
"""Name of the files -> what draws the figure, in the report's order."""


def _beside_null(
    of_layers: dict[int, dict[str, Any]], column: str, null: str, name: str, *, title: str, unit: str,
    labels: tuple[str, str],
) -> Figure | None:  # fmt: skip
    layers = [layer for layer in sorted(of_layers) if len(of_layers[layer][column])]
    if not layers:
        return None
    figure, axes = _figure(2 * len(layers))
    for look, key, offset in ((MEASURED, column, -0.2), (NULL, null, 0.2)):
        kept = [(i, of_layers[layer][key]) for i, layer in enumerate(layers) if len(of_layers[layer][key])]
        _boxes(axes, [values for _, values in kept], np.array([i + offset for i, _ in kept]), look, width=0.34)
    _layer_axis(axes, layers)
    axes.set_ylabel(unit)
    _heading(figure, title, name)
    _legend_below(figure, labels)
    return figure


def _figure(bars: int, *, legend: bool = False) -> tuple[Figure, Axes]:
    """A figure wide enough for a number of bars."""
    width = min(max(6.4, 1.6 + 0.3 * bars), 13.0) + (1.0 if legend else 0.0)
    figure = Figure(figsize=(width, 3.8), layout="constrained")
    return figure, figure.subplots()


def _boxes(
    axes: Axes, columns: Sequence[np.ndarray], places: np.ndarray, look: Look, width: float, *, upright: bool = True
) -> None:
    stats = []
    for values in columns:
        low, first, middle, third, high = np.percentile(values, [5, 25, 50, 75, 95])
        stats.append({"whislo": low, "q1": first, "med": middle, "q3": third, "whishi": high, "fliers": []})
    axes.bxp(
        stats, positions=places, widths=width, showfliers=False, patch_artist=True, manage_ticks=False,
        orientation="vertical" if upright else "horizontal", boxprops=_fill(look),
        medianprops={"color": "black", "linewidth": 1.6}, whiskerprops={"linewidth": 0.8},
        capprops={"linewidth": 0.8},
    )  # fmt: skip


def _fill(look: Look) -> dict[str, Any]:
    return {"facecolor": look.color, "hatch": look.hatch, "edgecolor": "0.15", "linewidth": 0.7}


def _layer_axis(axes: Axes, layers: Sequence[int]) -> None:
    """Ticks at whole layers, as many as fit."""
    places = MaxNLocator(nbins=16, integer=True).tick_values(0, max(len(layers) - 1, 1))
    shown = range(len(layers)) if len(layers) <= 32 else [int(i) for i in places if 0 <= i < len(layers)]
    axes.set_xticks(list(shown), [str(layers[i]) for i in shown])
    axes.set(xlabel="layer", xlim=(-0.7, len(layers) - 0.3))


def _heading(figure: Figure, title: str, name: str) -> None:
    """What is drawn, and under it of which subject."""
    figure.suptitle(f"{title}\n{name}", x=0.01, ha="left", fontsize=10)


def _legend_below(figure: Figure, labels: tuple[str, str]) -> None:
    handles = [Patch(label=text, **_fill(look)) for text, look in zip(labels, (MEASURED, NULL), strict=True)]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)


def _lines_legend(figure: Figure, axes: Axes, layers: Sequence[int]) -> None:
    """The lines by name; of many layers the first, the middle and the last."""
    handles, labels = axes.get_legend_handles_labels()
    if len(layers) > 12:
        kept = {f"layer {layers[i]}" for i in (0, len(layers) // 2, -1)}
        pairs = [(h, t) for h, t in zip(handles, labels, strict=True) if t in kept or not t.startswith("layer")]
        handles, labels = [h for h, _ in pairs], [t for _, t in pairs]
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 5))


def _shades(n: int) -> np.ndarray:
    """Colours from the first to the last layer, of even lightness steps."""
    return colormaps["cividis"](np.linspace(0.0, 0.88, max(n, 1)))[:n]
