"""The figures: which are drawn, what they show, that nothing lies on anything, and that names are shown as they are."""

from __future__ import annotations

import itertools
import sys
from xml.etree import ElementTree

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from neurolocal.errors import NeurolocalError
from neurolocal.literals import VERDICTS
from neurolocal.report import plots
from neurolocal.report.plot_data import STAGES, PlotData, read_plot_data
from neurolocal.report.plot_kinds import KINDS
from neurolocal.report.plots import drawable, write_plots
from neurolocal.report.rows import layer_verdicts


def made_up(layers: int, seed: int = 0) -> PlotData:
    """Data of every kind."""
    rng = np.random.default_rng(seed)
    data = PlotData("post")
    for layer in range(layers):
        data.maxima[layer] = np.exp(rng.normal(layer / 9, 1, 60))
        data.verdicts[layer] = dict(zip(VERDICTS, rng.integers(0, 90, len(VERDICTS)).tolist(), strict=True))
        for stage, columns in STAGES.items():
            data.stages[stage][layer] = {name: rng.random(50) for name in columns}
    data.scores = {"detection_auprc": ([0.6, 0.8], [0.5]), "token_f1": ([0.2], [])}
    return data


def shown_texts(figure: Figure) -> list[Text]:
    """Every text that is drawn; matplotlib keeps labels of ticks beyond the axes, and draws none."""
    labels, drawn = set(), list[Text]()
    for axis in [axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)]:
        low, high = sorted(axis.get_view_interval())
        ticks = axis.get_major_ticks()
        drawn += [t.label1 for t in ticks if low <= t.get_loc() <= high and t.label1.get_visible()]
        labels |= {label for t in (*ticks, *axis.get_minor_ticks()) for label in (t.label1, t.label2)}
    others = [text for text in figure.findobj(Text) if text not in labels and text.get_visible()]
    return [text for text in drawn + others if text.get_text().strip()]


def test_files_are_pictures_and_of_what_was_measured(small_store, tmp_path):
    written = write_plots(small_store(), tmp_path / "out")
    drawn = ["verdicts", "maxima", "coherence", "neighbours", "p_and_q"]  # there are no scores
    assert [path.name for path in written] == [f"{kind}.{suffix}" for kind in drawn for suffix in ("png", "svg")]
    assert sorted((tmp_path / "out").iterdir()) == sorted(written)
    for path in written:
        if path.suffix == ".png":
            assert path.read_bytes().startswith(b"\x89PNG\r\n")
        else:
            assert ElementTree.parse(path).getroot().tag == "{http://www.w3.org/2000/svg}svg"


def test_the_same_store_gives_the_same_svg_and_an_earlier_figure_goes(small_store, tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "scores.svg").write_text("of an earlier store")
        written = write_plots(small_store(stages=()), tmp_path / name)
        assert [path.name for path in written] == ["maxima.png", "maxima.svg"]
        assert sorted((tmp_path / name).iterdir()) == written
    assert (tmp_path / "a" / "maxima.svg").read_bytes() == (tmp_path / "b" / "maxima.svg").read_bytes()


def test_the_data_are_the_stores(small_store):
    store = small_store()
    data = read_plot_data(store, [2, 5], side="largest")
    for layer in (2, 5):
        assert data.verdicts[layer] == layer_verdicts(store, layer).counts
        assert np.array_equal(data.maxima[layer], store.statistics(layer).maximum.astype(float))
        for stage, columns in STAGES.items():
            table = store.evidence(stage, layer)
            for column in columns:
                values = getattr(table, column)
                assert np.array_equal(data.stages[stage][layer][column], values[~np.isnan(values)].astype(float))


def test_bars_and_boxes_show_the_data():
    data = made_up(4)
    axes = KINDS["verdicts"](data, "x").axes[0]
    for container, verdict in zip(axes.containers, VERDICTS, strict=True):
        wanted = [100 * data.verdicts[layer][verdict] / sum(data.verdicts[layer].values()) for layer in range(4)]
        assert container.get_label() == verdict
        assert [bar.get_height() for bar in container] == pytest.approx(wanted)
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0", "1", "2", "3"]
    medians = [line.get_ydata()[0] for line in KINDS["maxima"](data, "x").axes[0].lines if line.get_linewidth() == 1.6]
    assert medians == pytest.approx([np.median(data.maxima[layer]) for layer in range(4)])
    lines = KINDS["p_and_q"](data, "x").axes[0].lines
    assert [line.get_label() for line in lines][-1] == "uniform: no effect"
    p = np.sort(data.stages["similarity"][0]["p"])
    assert np.array_equal(lines[0].get_xdata()[1:-1], p)
    assert lines[0].get_ydata()[25] == 50.0


@pytest.mark.parametrize("layers", [2, 40])
@pytest.mark.parametrize("kind", KINDS)
def test_no_text_is_cut_off_or_lies_on_another(kind, layers):
    with plots._style():
        figure = KINDS[kind](made_up(layers), drawable("m" * 99))
        FigureCanvasAgg(figure).draw()
        boxes = [(text.get_text(), text.get_window_extent()) for text in shown_texts(figure)]
    assert len(boxes) > 8
    for text, box in boxes:
        inside = (box.min >= figure.bbox.min - 1).all() and (box.max <= figure.bbox.max + 1).all()
        assert inside, f"{text!r} is cut off"
    for (text, one), (other, two) in itertools.combinations(boxes, 2):
        assert not one.shrunk(0.9, 0.9).overlaps(two.shrunk(0.9, 0.9)), f"{text!r} lies on {other!r}"


@pytest.mark.parametrize("kind", KINDS)
def test_axes_are_labelled(kind):
    for axes in KINDS[kind](made_up(3), "x").axes:
        last, first = axes.get_subplotspec().is_last_row(), axes.get_subplotspec().is_first_col()
        assert axes.get_xlabel() or not last
        assert axes.get_ylabel() or not first or kind == "scores"


def test_nothing_to_draw_is_no_figure():
    assert [kind for kind, draw in KINDS.items() if draw(PlotData("post"), "x") is not None] == []
    data = PlotData("post")
    data.maxima, data.stages["similarity"] = {3: np.empty(0)}, {3: {c: np.empty(0) for c in STAGES["similarity"]}}
    assert [kind for kind, draw in KINDS.items() if draw(data, "x") is not None] == []


def test_a_hostile_name_is_shown_and_not_run(small_store, tmp_path):
    """Markup, a direction override; also mathematics and characters without a glyph, which matplotlib would warn of."""
    assert write_plots(small_store(hostile=True, stages=()), tmp_path)
    assert drawable("é $x^2$ 模\u202e") == "é $x^2$ ⟨U+6A21⟩⟨U+202E⟩"
    assert len(drawable("模" * 10**6)) < 60
    with plots._style():
        figure = KINDS["maxima"](made_up(2), drawable("$\\broken{$ 模"))
        FigureCanvasAgg(figure).draw()


def test_without_matplotlib_a_line_says_what_to_install(small_store, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(NeurolocalError, match=r"matplotlib is not installed. Run `pip install 'neurolocal\[plots\]'`"):
        write_plots(small_store(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_folder_cannot_be_made(small_store, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NeurolocalError, match=r"file: File exists. Choose another folder"):
        write_plots(small_store(), tmp_path / "file")
