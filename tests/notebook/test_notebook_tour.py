"""The tour runs as it is saved, on a small store, in a real kernel."""

from __future__ import annotations

import asyncio
import json
import warnings
from pathlib import Path

import pytest

TOUR = Path(__file__).parents[2] / "scripts" / "tour.ipynb"


def test_it_is_saved_without_outputs() -> None:
    cells = json.loads(TOUR.read_text(encoding="utf-8"))["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
    assert TOUR.stat().st_size < 100_000


@pytest.mark.slow
def test_every_cell_runs_and_shows_something(path: Path, tmp_path: Path, monkeypatch) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of packages that are imported here for the first time
        import nbformat
        from nbclient import NotebookClient

        monkeypatch.setenv("NEUROLOCAL_STORE", str(path))
        monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
        monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
        notebook = nbformat.read(TOUR, as_version=4)
        client = NotebookClient(
            notebook,
            timeout=900,
            startup_timeout=900,
            kernel_name="python3",
            resources={"metadata": {"path": str(TOUR.parent)}},
        )
        asyncio.run(client.async_execute())
    shown = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in shown if output.output_type == "error"]
    html = [output.data["text/html"] for output in shown if "text/html" in output.get("data", {})]
    assert sum('class="neurolocal"' in one for one in html) == 3, "the store, a neuron, a text"
    assert sum("dataframe" in one for one in html) == 3, "neurons, examples, the strongest"
    assert any("image/png" in output.get("data", {}) for output in shown), "the plot"
    assert len(json.dumps(notebook)) < 100_000
