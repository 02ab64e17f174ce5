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

UNKNOWN, WHOLE, SPECIAL, PART = 0, 1, 2, 3
"""What is known of a token id: nothing yet; its text is made; the same, and it is a special token, or its bytes end
within a character."""

KEPT = 1 << 17
"""Texts of activations that are kept."""

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
        self._texts = [""] * len(vocabulary.tokens)
        self._names = [""] * len(vocabulary.tokens)
        self._values = _Values()
        self._state = np.zeros(len(vocabulary.tokens), np.uint8)

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
        ids, state = tokens.tolist(), self._state[tokens].tolist()
        if UNKNOWN in state:
            state = [self._learn(token) for token in ids]
        if PART in state:
            together = groups(ids, self._vocabulary)
            made = [self._group(ids, group) for group in together]
            peak = next(i for i, group in enumerate(together) if peak in group)
            activations = np.array([_strongest(activations[group], scale) for group in together], np.float32)
            names = ["+".join(str(ids[i]) for i in group) for group in together]
            state = [state[group[-1]] for group in together]
        else:
            texts, numbers = self._texts, self._names
            made, names = [texts[token] for token in ids], [numbers[token] for token in ids]
        shades = _shades(activations, scale)
        special = [i for i, one in enumerate(state) if one == SPECIAL] if SPECIAL in state else []
        if self._joined:
            body = _titled(made, shades, activations.tolist(), peak=peak, special=special)
            return f"<p class=w dir=auto{attributes}>{''.join(body)}</p>"
        body = [f"{OPEN[shade]}{text}</i>" for shade, text in zip(shades, made, strict=True)]
        for i in special:
            body[i] = f'<i class="x s{shades[i]}">{made[i]}</i>'
        body[peak] = _mark(made[peak], shades[peak])
        values = " ".join(map(self._values.__getitem__, activations.tolist()))
        listed = f'data-a="{values}" data-t="{" ".join(names)}"'
        return f"<p class=w dir=auto {listed}{attributes}>{''.join(body)}</p>"

    def _group(self, ids: list[int], group: list[int]) -> str:
        if len(group) == 1:
            return self._texts[ids[group[0]]]
        return html.escape(token_text(self._vocabulary.text([ids[i] for i in group])))

    def _learn(self, token: int) -> int:
        """Make the text of a token id, unless it is made; gives its state."""
        if self._state[token]:
            return int(self._state[token])
        data = self._vocabulary.tokens[token]
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        decoder.decode(data)
        self._texts[token] = html.escape(token_text(data.decode("utf-8", "replace")))
        self._names[token] = str(token)
        part, special = bool(decoder.getstate()[0]), bool(self._vocabulary.special[token])
        self._state[token] = SPECIAL if special else PART if part else WHOLE
        return int(self._state[token])


class _Values(dict[float, str]):
    """Activations as text. Those of a collection in bfloat16 have few distinct values, so looking them up is faster."""

    def __missing__(self, value: float) -> str:
        text = f"{value:.3g}"
        if len(self) >= KEPT:
            self.clear()
        if value == value:  # NaN equals nothing, and would be kept each time
            self[value] = text
        return text


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
    share = np.fmin(np.fmax(activations.astype(np.float64) * (SHADES / scale), 0.0), SHADES)  # NaN gives 0
    return np.rint(share).astype(np.int8).tolist()


def _strongest(activations: Float32[np.ndarray, "_"], scale: float) -> float:
    """The strongest activation in the direction of the scale's sign; NaN if all are."""
    known = activations[~np.isnan(activations)]
    if not known.size:
        return float("nan")
    return float(known.min() if scale < 0 else known.max())
