"""An example's window as HTML: one element a token, shaded by activation, with the values and token ids beside it.

The window is `<p class=w dir=auto data-a="…" data-t="…">` with one `<i>` a token, in reading order; the peak is a
`<mark>`. The class `s1` to `s10` is the shade; `x` is a special token. `data-a` lists the activations and `data-t` the
ids, one an element, which the page's script shows for the token that is pointed at. With `joined` there is no list:
tokens without a shade are plain text, and each other one has its activation as its title.

Invariant: text is made visible, then escaped; tokens that form one character together are one element.
Cost: linear in the window, about 25 bytes a token; the text of a token id is made once.
"""

from __future__ import annotations

import codecs
import html
import re
from math import isfinite
from typing import Any

import numpy as np
from jaxtyping import Float32, Integer

from neurolocal.render.figures import number
from neurolocal.render.spans import SHADES, groups
from neurolocal.render.visible import LONGEST, visible
from neurolocal.words import Vocabulary

SPACES = re.compile(r"  +|^ $")
"""White space that is seen only when it is drawn: several spaces, and a token that is a space."""

OTHER_SPACES = re.compile(r"[^\S \n\t]")
"""Spaces that look like the common one or like nothing."""

OPEN = ["<i>", *(f"<i class=s{shade}>" for shade in range(1, SHADES + 1))]
"""The opening tag of a token by its shade."""


def token_text(text: str) -> str:
    """The text of one token with everything in it visible: `visible`, and spaces that would not be noticed."""
    shown = visible(text, limit=LONGEST)
    shown = OTHER_SPACES.sub(lambda space: f"⟨U+{ord(space[0]):04X}⟩", shown)
    return SPACES.sub(lambda spaces: "·" * len(spaces[0]), shown)


class Windows:
    """Windows of tokens of one vocabulary as HTML."""

    def __init__(self, vocabulary: Vocabulary, *, joined: bool = False) -> None:
        """For windows of this vocabulary; see the module for `joined`."""
        self._vocabulary, self._joined = vocabulary, joined
        self._texts: dict[int, str] = {}
        self._parts: dict[int, bool] = {}

    def html(
        self,
        tokens: Integer[np.ndarray, "window"],
        activations: Float32[np.ndarray, "window"],
        *,
        peak: int,
        scale: float,
        attributes: str = "",
    ) -> str:
        """A window as a paragraph.

        Args:
            tokens: ids.
            activations: one a token; NaN where unknown.
            peak: which token is marked.
            scale: the activation of the strongest shade; another sign has no shade.
            attributes: further attributes of the paragraph, as HTML.
        """
        ids = tokens.tolist()
        names: list[Any] = ids
        if any(map(self._is_part, ids)):
            together = groups(ids, self._vocabulary)
            made = [self._group(ids, group) for group in together]
            peak = next(i for i, group in enumerate(together) if peak in group)
            activations = np.array([_strongest(activations[group], scale) for group in together], np.float32)
            names = ["+".join(str(ids[i]) for i in group) for group in together]
            ids = [ids[group[-1]] for group in together]
        else:
            made = [self._texts.get(token) or self.text(token) for token in ids]
        shades, special = _shades(activations, scale), np.flatnonzero(self._vocabulary.special[ids]).tolist()
        if self._joined:
            body = _titled(made, shades, activations.tolist(), peak=peak, special=special)
            return f"<p class=w dir=auto{attributes}>{''.join(body)}</p>"
        body = [f"{OPEN[shade]}{text}</i>" for shade, text in zip(shades, made, strict=True)]
        for i in special:
            body[i] = f'<i class="x s{shades[i]}">{made[i]}</i>'
        body[peak] = _mark(made[peak], shades[peak])
        values = ("%.3g " * len(made) % tuple(activations.tolist()))[:-1]
        listed = f'data-a="{values}" data-t="{" ".join(map(str, names))}"'
        return f"<p class=w dir=auto {listed}{attributes}>{''.join(body)}</p>"

    def text(self, token: int) -> str:
        """The text of one token id, visible and escaped."""
        found = self._texts.get(token)
        if found is None:
            own = self._vocabulary.tokens[token].decode("utf-8", "replace")
            found = self._texts[token] = html.escape(token_text(own))
        return found

    def _group(self, ids: list[int], group: list[int]) -> str:
        if len(group) == 1:
            return self.text(ids[group[0]])
        return html.escape(token_text(self._vocabulary.text([ids[i] for i in group])))

    def _is_part(self, token: int) -> bool:
        """Whether the token's bytes end within a character."""
        found = self._parts.get(token)
        if found is None:
            decoder = codecs.getincrementaldecoder("utf-8")("replace")
            decoder.decode(self._vocabulary.tokens[token])
            found = self._parts[token] = bool(decoder.getstate()[0])
        return found


def _titled(made: list[str], shades: list[int], values: list[float], *, peak: int, special: list[int]) -> list[str]:
    """The tokens of a window; only what is shaded has an element, with its activation as title."""
    body = [
        f'<i class=s{shade} title="{number(value)}">{text}</i>' if shade else text
        for text, shade, value in zip(made, shades, values, strict=True)
    ]
    for i in special:
        body[i] = f'<i class="x s{shades[i]}" title="{number(values[i])}">{made[i]}</i>'
    body[peak] = _mark(made[peak], shades[peak], f' title="{number(values[peak])}"')
    return body


def _mark(text: str, shade: int, title: str = "") -> str:
    """The peak; the space before its word is outside of the mark."""
    word = text.lstrip(" ") or text
    return f"{text[: len(text) - len(word)]}<mark class=s{shade}{title}>{word}</mark>"


def _shades(activations: Float32[np.ndarray, "_"], scale: float) -> list[int]:
    """0 to `SHADES`: activation as a share of the scale, rounded; 0 where it is unknown."""
    if not scale or not isfinite(scale):
        return [0] * len(activations)
    share = np.nan_to_num(activations.astype(np.float64) / scale, nan=0.0, posinf=1.0, neginf=0.0)
    return np.rint(SHADES * share.clip(0.0, 1.0)).astype(int).tolist()


def _strongest(activations: Float32[np.ndarray, "_"], scale: float) -> float:
    """The strongest activation in the direction of the scale's sign; NaN if all are."""
    known = activations[~np.isnan(activations)]
    if not known.size:
        return float("nan")
    return float(known.min() if scale < 0 else known.max())
