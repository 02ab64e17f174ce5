"""Windows of examples as HTML: one element a token, shaded by activation, with the values and token ids beside it.

A window is `<p class=w dir=auto data-a="…" data-t="…">` with one `<i>` a token, in reading order; the peak is a
`<mark>`. The class `s1` to `s10` is the shade; `x` is a special token. `data-a` lists the activations and `data-t` the
ids, one an element, which the page's script shows for the token that is pointed at. With `joined` there is no list:
tokens without a shade are plain text, and each other one has its activation as its title.

Invariant: text is made visible, then escaped; tokens that form one character together are one element.
Cost: linear in the tokens, about 25 bytes a token. The text of a token id is made once, in bytes, and numpy joins them;
so many windows in one call cost less than one a call.
"""

from __future__ import annotations

import codecs
import html
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int8, Int64, Integer

from neurolocal.render.pieces import Numbers, Pieces, Places
from neurolocal.render.spans import SHADES, groups, shades, strongest
from neurolocal.render.visible import LONGEST, visible
from neurolocal.words import Vocabulary

SPACES = re.compile(r"  +|^ $")
"""White space that is seen only when it is drawn: several spaces, and a token that is a space."""

OTHER_SPACES = re.compile(r"[^\S \n\t]")
"""Spaces that look like the common one or like nothing."""

UNKNOWN, WHOLE, SPECIAL, PART = 0, 1, 2, 3
"""What is known of a token id: nothing yet; its text is made; the same, and it is a special token, or its bytes end
within a character."""

KEPT = 1 << 16
"""Texts of several tokens that form one character together that are kept."""

CLOSE = b"</i>"


def token_text(text: str) -> str:
    """The text of one token with everything in it visible: `visible`, and spaces that would not be noticed."""
    shown = visible(text, limit=LONGEST)
    shown = OTHER_SPACES.sub(lambda space: f"⟨U+{ord(space[0]):04X}⟩", shown)
    return SPACES.sub(lambda spaces: "·" * len(spaces[0]), shown)


class Window(NamedTuple):
    """Tokens to be shown."""

    tokens: Integer[np.ndarray, "window"]
    """Ids."""
    activations: Float32[np.ndarray, "window"]
    """One a token; NaN where unknown."""
    peak: int | None
    """Which token is marked; None marks none."""
    scale: float
    """The activation of the strongest shade; another sign has no shade."""


class Windows:
    """Windows of tokens of one vocabulary as HTML."""

    def __init__(self, vocabulary: Vocabulary, *, joined: bool = False) -> None:
        """For windows of this vocabulary; see the module for `joined`."""
        self._vocabulary, self._joined = vocabulary, joined
        self._start()

    def html(self, windows: Sequence[Window]) -> list[str]:
        """Each window as a paragraph."""
        if not windows:
            return []
        if self._tokens.n_joined > KEPT:
            self._start()
        tokens, ids = self._tokens, np.concatenate([window.tokens for window in windows])
        tokens.learn(ids)
        lengths = np.array([len(window.tokens) for window in windows])
        parts = np.flatnonzero(tokens.state[ids] == PART)
        if len(parts):
            incomplete = set(np.searchsorted(lengths.cumsum(), parts, side="right").tolist())
            windows = [self._merged(window) if i in incomplete else window for i, window in enumerate(windows)]
            ids = np.concatenate([window.tokens for window in windows])
            lengths = np.array([len(window.tokens) for window in windows])
        values = np.concatenate([window.activations for window in windows])
        stops = lengths.cumsum()
        level = shades(values, np.repeat(np.array([window.scale for window in windows], np.float64), lengths))
        text = Places(tokens.text.begin[ids], tokens.text.length[ids])
        special = tokens.state[ids] == SPECIAL
        element, size = self._element(level, special, values, text), self._pieces.size
        self._mark(windows, element, text, starts=stops - lengths, ids=ids, level=level)
        bodies = self._cut([*element, text], stops)
        self._pieces.size = size  # the marks are of these windows alone
        if self._joined:
            return [f"<p class=w dir=auto>{body}</p>" for body in bodies]
        listed = self._cut([self._numbers.places(values)], stops)
        names = self._cut([Places(tokens.name.begin[ids], tokens.name.length[ids])], stops)
        return [
            f'<p class=w dir=auto data-a="{activations[:-1]}" data-t="{name[:-1]}">{body}</p>'
            for activations, name, body in zip(listed, names, bodies, strict=True)
        ]

    def _start(self) -> None:
        """Forget all texts."""
        self._pieces = Pieces()
        self._tokens = _Tokens(self._vocabulary, self._pieces)
        self._numbers = Numbers(self._pieces)
        title = ' title="' if self._joined else ">"
        classes = [f"s{shade}" for shade in range(SHADES + 1)]
        tags = [f"<i class={name}{title}" for name in classes] + [f'<i class="x {name}"{title}' for name in classes]
        if not self._joined:
            tags[0] = "<i>"
        self._open = _places([self._pieces.add(tag.encode()) for tag in tags])
        self._after = self._pieces.add(b'">')

    def _element(
        self,
        level: Int8[np.ndarray, "n"],
        special: Bool[np.ndarray, "n"],
        values: Float32[np.ndarray, "n"],
        text: Places,
    ) -> list[Places]:
        """What stands before the text of each token, in one or more pieces.

        The text of a token without an element loses its closing tag.
        """
        code = level + (SHADES + 1) * special
        opening = Places(self._open.begin[code], self._open.length[code])
        if not self._joined:
            return [opening]
        title, after = self._numbers.places(values), _places([self._after] * len(level))
        title.length[:] -= 1  # the space
        bare = code == 0
        for piece in (opening, title, after):
            piece.length[bare] = 0
        text.length[bare] -= len(CLOSE)
        return [opening, title, after]

    def _mark(
        self, windows: Sequence[Window], element: list[Places], text: Places, *, starts: Int64[np.ndarray, "window"],
        ids: Integer[np.ndarray, "n"], level: Int8[np.ndarray, "n"],
    ) -> None:  # fmt: skip
        """Put a mark in the place of each peak; the space before its word is outside of the mark."""
        peaks = [start + w.peak for start, w in zip(starts.tolist(), windows, strict=True) if w.peak is not None]
        values = (float(w.activations[w.peak]) + 0.0 for w in windows if w.peak is not None)
        for at, token, shade, value in zip(peaks, ids[peaks].tolist(), level[peaks].tolist(), values, strict=True):
            whole = self._tokens.texts[token]
            word = whole.lstrip(" ") or whole
            title = f' title="{value:.3g}"' if self._joined else ""
            mark = f"{whole[: len(whole) - len(word)]}<mark class=s{shade}{title}>{word}</mark>"
            text.begin[at], text.length[at] = self._pieces.add(mark.encode())
        for piece in element:
            piece.length[peaks] = 0

    def _cut(self, columns: list[Places], stops: Int64[np.ndarray, "window"]) -> list[str]:
        """The pieces of each token one after another, as one text for each window."""
        whole = Places(*(np.stack(column, axis=1).ravel() for column in zip(*columns, strict=True)))
        text, ends = self._pieces.joined(whole)
        at = np.concatenate([[0], ends])[stops * len(columns)].tolist()
        return [text[start:stop].decode() for start, stop in zip([0, *at[:-1]], at, strict=True)]

    def _merged(self, window: Window) -> Window:
        """A window in which tokens that form one character together are one token."""
        ids, values = window.tokens.tolist(), window.activations.tolist()
        together = groups(ids, self._vocabulary)
        keys = [self._tokens.joined(tuple(ids[i] for i in group)) for group in together]
        return Window(
            np.array(keys),
            np.array([strongest([values[i] for i in group], window.scale) for group in together], np.float32),
            next((at for at, group in enumerate(together) if window.peak in group), None),
            window.scale,
        )


class _Tokens:
    """The texts and names of token ids, each made when it is first shown."""

    def __init__(self, vocabulary: Vocabulary, pieces: Pieces) -> None:
        """None yet; texts go into the buffer."""
        self._vocabulary, self._pieces = vocabulary, pieces
        n = len(vocabulary.tokens)
        self.state = np.zeros(n, np.uint8)
        self.text = Places(np.zeros(n, np.int64), np.zeros(n, np.int64))
        """With the closing tag."""
        self.name = Places(np.zeros(n, np.int64), np.zeros(n, np.int64))
        """With a space."""
        self.texts: dict[int, str] = {}
        """Visible and escaped, by id."""
        self._joined: dict[tuple[int, ...], int] = {}
        """Tokens that form one character together -> the id by which they are known here, which is of no token."""

    @property
    def n_joined(self) -> int:
        """How many texts of several tokens are kept."""
        return len(self._joined)

    def learn(self, ids: Integer[np.ndarray, "n"]) -> None:
        """Make the texts of these ids, unless they are made."""
        for token in np.unique(ids[self.state[ids] == UNKNOWN]).tolist():
            data = self._vocabulary.tokens[token]
            decoder = codecs.getincrementaldecoder("utf-8")("replace")
            decoder.decode(data)
            special, part = bool(self._vocabulary.special[token]), bool(decoder.getstate()[0])
            state = SPECIAL if special else PART if part else WHOLE
            self._add(token, data.decode("utf-8", "replace"), str(token), state)

    def joined(self, ids: tuple[int, ...]) -> int:
        """The id by which tokens that form one character together are known here."""
        if len(ids) == 1:
            return ids[0]
        if ids not in self._joined:
            self._joined[ids] = token = len(self._vocabulary.tokens) + len(self._joined)
            if token >= len(self.state):
                more = max(len(self.state) // 2, 256)
                self.state = np.append(self.state, np.zeros(more, np.uint8))
                self.text, self.name = (
                    Places(*(np.append(column, np.zeros(more, np.int64)) for column in places))
                    for places in (self.text, self.name)
                )
            self._add(token, self._vocabulary.text(ids), "+".join(map(str, ids)), WHOLE)
        return self._joined[ids]

    def _add(self, token: int, text: str, name: str, state: int) -> None:
        self.texts[token] = shown = html.escape(token_text(text))
        self.text.begin[token], self.text.length[token] = self._pieces.add(shown.encode() + CLOSE)
        self.name.begin[token], self.name.length[token] = self._pieces.add(f"{name} ".encode())
        self.state[token] = state


def _places(places: Sequence[tuple[int, int]]) -> Places:
    return Places(*np.array(places, np.int64).reshape(-1, 2).T.copy())
