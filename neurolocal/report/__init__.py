"""The results of a store: the ranked table, one neuron, JSON, CSV, and the HTML page.

Invariant: reads only the store, never writes to it, and runs no model. All text of a corpus, a subject or an LLM is
untrusted (see `neurolocal.render.visible`).
"""

from neurolocal.report.neuron import show
from neurolocal.report.neuron_json import neuron_json, neuron_object
from neurolocal.report.page import page, page_is_current, write_page
from neurolocal.report.rows import (
    LayerVerdicts,
    NeuronRow,
    layer_verdicts,
    report_csv,
    report_json,
    report_object,
    report_rows,
    write_csv,
    write_json,
)
from neurolocal.report.table import print_table

__all__ = [
    "LayerVerdicts",
    "NeuronRow",
    "layer_verdicts",
    "neuron_json",
    "neuron_object",
    "page",
    "page_is_current",
    "print_table",
    "report_csv",
    "report_json",
    "report_object",
    "report_rows",
    "show",
    "write_csv",
    "write_json",
    "write_page",
]
