from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neurolocal.summary.categories import Categories, names
from neurolocal.summary.judge import SHOTS


class Handmade:
    """Four words about metal, four about kin, and one that lies everywhere."""

    words = ("the", "metals", "iron", "zinc", "copper", "family", "members", "mother", "uncle")
    matrix = np.array(
        [[1, 1, 1], [1, 9, 0], [1, 8, 1], [1, 9, 1], [1, 7, 0], [1, 0, 9], [1, 1, 8], [1, 0, 8], [1, 1, 9]], np.float32
    )
    matrix = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)

    def find(self, word: str) -> np.ndarray | None:
        return self.matrix[self.words.index(word)] if word in self.words else None

    def neighbours(self, word: str, n: int, exclude: Sequence[str] = ()) -> list[tuple[str, float]]:
        return []


def test_nearest_names_are_those_of_the_slow_twin() -> None:
    vectors = Handmade()
    mean = vectors.matrix.mean(axis=0)
    slow = {}
    for name in names():
        found = [vectors.find(w) for w in name.split() if w not in ("of", "and", "a")]
        found = [v - mean for v in found if v is not None]
        if found:
            centre = sum(found) / len(found)
            cosines = []
            for word in ("iron", "zinc"):
                v = vectors.matrix[vectors.words.index(word)] - mean
                cosines.append(float(centre @ v / np.linalg.norm(centre) / np.linalg.norm(v)))
            slow[name] = sum(cosines) / 2
    expected = sorted(slow, key=lambda n: -slow[n])
    assert Categories(vectors).nearest(["Iron", "zinc", "unheard"], 99) == expected
    assert expected[0] == "metals"
    assert Categories(vectors).nearest(["mother", "uncle"], 1) == ["family members"]


def test_words_without_vectors_have_no_names() -> None:
    assert Categories(Handmade()).nearest(["unheard"], 5) == []
    assert Categories(Handmade()).nearest([], 5) == []


def test_the_list_has_no_doubles_no_blanks_and_none_of_the_prompts_own_words() -> None:
    assert len(names()) == len(set(names())) > 300
    assert all(n == n.strip() and n and "\n" not in n for n in names())
    shown = {w for _, words in SHOTS for w in words}
    assert not shown & set(names())
