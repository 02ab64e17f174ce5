"""`neurolocal report --plots`: figures of the layers' distributions, each as PNG and as SVG.

Invariant: a figure of what was not measured is not drawn. Colour is never the only sign: verdicts have hatches, nulls
are grey and hatched. The same store gives the same SVG. matplotlib is imported here and in `plot_kinds.py` alone.
Cost: one layer's tables at a time; a few numbers of each neuron stay in memory.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurolocal.errors import NeurolocalError
from neurolocal.files import cache_folder, replacing
from neurolocal.literals import Side
from neurolocal.render.visible import visible
from neurolocal.report.facts import subject_name
from neurolocal.store import Store

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 160
"""Of a PNG."""

LONGEST_NAME = 40
"""Characters of the subject's name that a figure shows."""

DOING = "writing the figure"

STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "0.9",
    "legend.frameon": False,
    "hatch.linewidth": 0.6,
    "text.parse_math": False,  # a $ in a subject's name is a $
    "svg.hashsalt": "neurolocal",
    "svg.fonttype": "path",
}
"""What differs from matplotlib's own style."""


def write_plots(store: Store, out: Path, layers: Iterable[int] | None = None, *, side: Side = "largest") -> list[Path]:
    """Write the figures of the layers (None: all) into a folder; the files, in the order of the report.

    Args:
        store: an open store.
        out: the folder; made, or added to.
        layers: indices of layers.
        side: which example lists and which tables.

    Raises:
        StoreError: a layer was not collected.
        NeurolocalError: matplotlib (extra `plots`) is not installed; the folder cannot be written.
    """
    which = store.require_layers(layers)
    _require_matplotlib()
    from neurolocal.report.plot_data import read_plot_data
    from neurolocal.report.plot_kinds import KINDS

    data, written = read_plot_data(store, which, side=side), list[Path]()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NeurolocalError(f"{DOING}s to {out}: {error.strerror}. Choose another folder.") from error
    with _style():
        name = drawable(subject_name(store) or "unknown subject")
        for kind, draw in KINDS.items():
            figure = draw(data, name)
            paths = [out / f"{kind}.{suffix}" for suffix in ("png", "svg")]
            if figure is None:
                for path in paths:
                    path.unlink(missing_ok=True)
                continue
            for path in paths:
                _save(figure, path)
            written += paths
    return written


def _require_matplotlib() -> None:
    """Import matplotlib, its cache of fonts in our cache.

    Raises:
        NeurolocalError: it is not installed.
    """
    with contextlib.suppress(NeurolocalError):
        os.environ.setdefault("MPLCONFIGDIR", str(cache_folder("matplotlib")))
    try:
        import matplotlib  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ImportError as error:
        raise NeurolocalError(
            f"{DOING}s: matplotlib is not installed. Run `pip install 'neurolocal[plots]'`, or use --html, which needs "
            "no matplotlib."
        ) from error


@contextlib.contextmanager
def _style() -> Generator[None, None, None]:
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # not the style of the user's matplotlibrc
        matplotlib.rcParams.update(STYLE)
        yield


def drawable(text: str) -> str:
    """A name as a figure shows it: cut, and each character that is hidden or that the font lacks as its code."""
    from matplotlib.font_manager import findfont, get_font

    font = get_font(findfont("DejaVu Sans"))
    known = "".join(c if font.get_char_index(ord(c)) else f"⟨U+{ord(c):04X}⟩" for c in text[:LONGEST_NAME])
    return visible(known + text[LONGEST_NAME:], limit=LONGEST_NAME)


def _save(figure: Figure, path: Path) -> None:
    kind = path.suffix[1:]
    nothing = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}[kind]
    with replacing(path, doing=DOING) as beside:
        figure.savefig(beside, format=kind, dpi=DPI, metadata=nothing)
