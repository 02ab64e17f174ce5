"""Pages in the site's own form, written only from its description; the reader is tested on them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

WORDS = [
    " the",
    " of",
    "ing",
    " poly",
    "\n",
    ",",
    ' "',
    "\\",
    "a, b",
    "</script>",
    "<hr>",
    "&amp;",
    "\ufffd",
    "é",
    "🙂",
]
"""Token strings, harmless and not."""

HOSTILE = [
    *WORDS, "</details>", "</summary>", '{"tokens": ', ', "values": [', '"values":', "ColoredTokens, {",
    " )\n</script>", ")</script></details>", "<h4>Max Act: <b>9.0000</b>. Min Act: <b>-1.0000</b></h4>",
    "<h2>Text #3</h2>", "&lt;", "\r\n", "<h2>Neuron 3 in Layer 4 </h2>", "<h4>Data Index: <b>5</b> (pile)</h4>",
    "\n<hr>\n", "<details", "\u2028", "\0", "", ")", "]}", "<!-- neurolocal sha256 ", '"', "'", "\t", ": ", "\\\"",
]  # fmt: skip
"""Strings that a reader may take for the page itself."""


def random_page(
    rng: np.random.Generator, *, neuron: int = 159, layer: int = 6, texts: int = 20, length: int = 80,
    words: list[str] | None = None, model: str = "solu-8l-pile", first: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """A page as plain values; data indices from `first` up."""
    words = words or WORDS
    found = []
    for i in range(texts):
        values = np.round(rng.normal(0, 0.2, length), 6)
        values[rng.integers(length)] = round(3 - i * 0.05 + float(rng.random()) * 0.04, 6)
        tokens = ["<|endoftext|>", *(words[j] for j in rng.integers(0, len(words), length - 1))]
        found.append({"index": first + i, "tokens": tokens, "values": [float(v) for v in values]})
    return {"model": model, "dataset": "pile", "layer": layer, "neuron": neuron, "texts": found}


def page_html(page: dict[str, Any], *, full: bool = True) -> str:
    """The page as the site writes it: nothing in the JSON is escaped but what JSON itself must."""
    x = max((max(text["values"]) for text in page["texts"]), default=0.0)
    sections = [
        "<html><body><a href='1.html'>Prev</a>\n"
        f"<h1>Model: {page['model']}</h1>\n<h1>Dataset: {page['dataset']}</h1>\n"
        f"<h2>Neuron {page['neuron']} in Layer {page['layer']} </h2>\n",
        "\n",
    ]
    for i, text in enumerate(page["texts"]):
        values, at = text["values"], int(np.argmax(text["values"]))
        low, high = max(at - 50, 0), at + 11
        body = blob(f"t{i}", text["tokens"][low:high], values[low:high], x)
        rest = f"<h3>Full Text #{i}</h3>\n{blob(f'f{i}', text['tokens'], values, x)}\n</details>\n" if full else ""
        sections.append(
            f"<h2>Text #{i}</h2>\n<h4>Max Range: <b>{x:.4f}</b>. Min Range: <b>{-x:.4f}</b></h4>\n"
            f"<h4>Max Act: <b>{max(values):.4f}</b>. Min Act: <b>{min(values):.4f}</b></h4>\n"
            f"<h4>Data Index: <b>{text['index']}</b> ({page['dataset']})</h4>\n"
            f"<h4>Max Activating Token Index: <b>{at}</b></h4>\n"
            f"<details><summary>Click<h3>Truncated</h3>\n{body}\n</summary>\n{rest}"
        )
    return "<hr>\n".join(sections) + "</body></html>\n"


def blob(name: str, tokens: list[str], values: list[float], x: float) -> str:
    said = {"tokens": tokens, "values": values, "minValue": -round(x, 6), "maxValue": round(x, 6)}
    return (
        f'<div id="{name}" style="margin: 15px 0;"/></div>\n<script crossorigin type="module">\n'
        'import { render, ColoredTokens } from "https://unpkg.com/circuitsvis";\n'
        f'render( "{name}", ColoredTokens, {json.dumps(said, ensure_ascii=False)} )\n</script>'
    )
