"""One neuron's page in Neuroscope's form, as text: its known readers accept it, and it works without a network.

Invariant: tokens, names and data sets are only text: in JSON as ASCII escapes without `<`, `>` and `&`, in HTML made
visible and escaped. So none of them can end a string, a tag, a section or a comment. The same neuron gives the same
bytes. A page loads nothing: the renderer is inside it, and its content security policy forbids everything else.
Cost: O(tokens); some 20 bytes a token.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from neurolocal.neuroscope.export.decimals import Decimals, texts
from neurolocal.neuroscope.form import AFTER, BEFORE, section_checksum
from neurolocal.render.page_templates import digest, head
from neurolocal.render.visible import LONGEST, visible

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class PageText:
    """One text of a page: a whole row."""

    row: int
    """Row index in the corpus ("Data Index")."""
    position: int
    """Of the example in the row ("Max Activating Token Index")."""
    tokens: Sequence[str]
    """The text of each token, without padding."""
    values: Float[np.ndarray, "pos"]
    """The neuron's activation at each; finite, as many as `tokens`."""
    encoded: Sequence[str] | None = None
    """The tokens as `quoted` gives them, where the caller has them already."""


@dataclass(frozen=True)
class NeuronPage:
    """One neuron's page."""

    model: str
    dataset: str
    layer: int
    neuron: int
    """Index within the layer."""
    texts: Sequence[PageText]
    """Strongest first; one or more."""
    facts: Mapping[str, Any]
    """Plain values for our own reader, written as one line of JSON in a comment."""
    previous: int | None = None
    """The neuron of the previous page of this layer; None on the first."""
    following: int | None = None
    """The same of the next page; None on the last."""

    @property
    def range(self) -> float:
        """The largest value that the colours show: the largest |activation| at the positions of the examples.

        In a list of the largest activations this is the first one, as on Neuroscope. The absolute value is taken
        because a list of the smallest, or of a sign case, may hold only negative ones. Only the examples count because
        a BOS that does not compete may be far above them.
        """
        return max(abs(float(text.values[text.position])) for text in self.texts)


def page_text(page: NeuronPage) -> str:
    """The page, as HTML."""
    nonce = _nonce(page)
    header = _header(page, nonce)
    sections = [f"{header}\n", "\n"]
    values = texts([text.values for text in page.texts])
    for i, text in enumerate(page.texts):
        body = _section(page, i, text, values[i], nonce=nonce)
        sections.append(f"{body}\n<!-- neurolocal sha256 {section_checksum(header, body)} -->\n")
    return "<hr>\n".join(sections) + "</body>\n</html>\n"


@lru_cache(maxsize=1 << 18)
def quoted(text: str) -> str:
    """The text as a JSON string in ASCII that is safe inside of HTML."""
    return harmless(json.dumps(text))


def harmless(encoded: str) -> str:
    """The same JSON without the characters that have a meaning in HTML."""
    return encoded.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@lru_cache(maxsize=256)
def shown(text: str) -> str:
    """Untrusted text as HTML: on one line, hidden characters made visible, escaped."""
    return escape(visible(text, limit=LONGEST))


@cache
def source(name: str) -> str:
    """Our own style or script, without surrounding white space: in a page and in its hash it must be equal."""
    return (TEMPLATES / name).read_text(encoding="utf-8").strip()


def _header(page: NeuronPage, nonce: str) -> str:
    """The part of the page before the first `<hr>`."""
    style, model = source("site.css"), shown(page.model)
    policy = (
        f"default-src 'none'; style-src {digest(style)}; script-src 'nonce-{nonce}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return f"""{head(policy)}<title>{model}: layer {page.layer}, neuron {page.neuron}</title>
<style>{style}</style>
<script type="importmap" nonce="{nonce}">{_import_map()}</script>
</head>
<body class="neuron">
<!-- neurolocal {harmless(json.dumps(page.facts))} -->
<nav>
{_link("Prev", page.previous, "prev")}
<a href="../../index.html">Home</a>
<a href="../index.html">Model</a>
<a href="../random.html">Random</a>
{_link("Next", page.following, "next")}
</nav>
<h1>Model: {model}</h1>
<h1>Dataset: {shown(page.dataset)}</h1>
<h2>Neuron {page.neuron} in Layer {page.layer} </h2>
<p class="note">{_note(page.facts)}</p>
<noscript><p class="note">The texts are shown by a script inside this page; allow it to run.</p></noscript>"""


def _note(facts: Mapping[str, Any]) -> str:
    """How to read the page; Neuroscope has links to its documentation here."""
    which = {"largest": "activate it most", "smallest": "activate it least"}.get(
        str(facts.get("side")), f"activate it most in the sign case {shown(str(facts.get('side')))}"
    )
    site = f", read at <code>{shown(str(facts['site']))}</code>" if "site" in facts else ""
    return (
        f"The texts that {which}{site}. The example's token is outlined. Point at a token for its value; open a text "
        'to see all of it. <span class="scale"><span>negative</span><i></i><span>positive</span></span>'
    )


def _link(name: str, neuron: int | None, rel: str) -> str:
    return f'<span class="off">{name}</span>' if neuron is None else f'<a rel="{rel}" href="{neuron}.html">{name}</a>'


def _section(page: NeuronPage, i: int, text: PageText, values: Decimals, *, nonce: str) -> str:
    """One text, up to its checksum."""
    x, at = page.range, text.position
    low, high = max(at - BEFORE, 0), at + AFTER + 1
    tokens, limits = (
        text.encoded or [quoted(token) for token in text.tokens],
        f'"minValue": {_fixed(-x, 6)}, "maxValue": {_fixed(x, 6)}',
    )

    def blob(name: str, first: int, stop: int) -> str:
        return f"""<div id="{name}-{i}" data-first="{first}" data-peak="{at}"></div>
<script nonce="{nonce}" type="module">
import {{ render, ColoredTokens }} from "circuits";
render( "{name}-{i}", ColoredTokens, {{"tokens": [{", ".join(tokens[first:stop])}], \
"values": [{values.between(first, min(stop, len(tokens)))}], {limits}}} )
</script>"""

    return f"""<h2>Text #{i}</h2>
<h4>Max Range: <b>{_fixed(x)}</b>. Min Range: <b>{_fixed(-x)}</b></h4>
<h4>Max Act: <b>{_fixed(text.values[at])}</b>. Min Act: <b>{_fixed(text.values.min())}</b></h4>
<h4>Data Index: <b>{text.row}</b> ({shown(page.dataset)})</h4>
<h4>Max Activating Token Index: <b>{at}</b></h4>
<details><summary><h3>Truncated</h3>
{blob("truncated", low, high)}
</summary>
<h3>Full Text #{i}</h3>
{blob("full", 0, len(tokens))}
</details>"""


def _fixed(value: float | np.floating, decimals: int = 4) -> str:
    """The value with fixed decimals, without an exponent or a negative zero."""
    text = f"{float(value):.{decimals}f}"
    return text[1:] if text.startswith("-") and not text.strip("-0.") else text


def _nonce(page: NeuronPage) -> str:
    """The nonce that allows the page's own scripts: a hash of the page's content."""
    hasher = hashlib.sha256(json.dumps([page.model, page.dataset, page.layer, page.neuron]).encode())
    for text in page.texts:
        hasher.update(f"{text.row} {text.position} {len(text.tokens)} ".encode())
        hasher.update(text.values.tobytes())
    return hasher.hexdigest()[:32]


@cache
def _import_map() -> str:
    """Gives the renderer a bare module name, since browsers refuse to load a module from a file:// address.

    A script with the nonce passes it on to what it imports, so the policy need not allow `data:` in general.
    """
    script = base64.b64encode(source("circuits.js").encode()).decode()
    return json.dumps({"imports": {"circuits": f"data:text/javascript;charset=utf-8;base64,{script}"}})
