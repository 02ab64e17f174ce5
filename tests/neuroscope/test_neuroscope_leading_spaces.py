"""Too little to judge by: said as such, with the reason."""

from __future__ import annotations

import json

import numpy as np
import pytest
from replay_twins import activations, neox_folder, replayed, rows_of, seed, write_pages

from neurolocal.neuroscope.replay.leading_spaces import lost_spaces
from neurolocal.neuroscope.replay.replay_output import conclusion, print_replay, replay_json
from neurolocal.subject import load_subject
from neurolocal.words import Vocabulary

pytestmark = pytest.mark.usefixtures("one_thread")

WORDS = [f"word{'abcdefghij'[i % 10]}{'klmnopqrst'[i // 10]}" for i in range(60)]


def vocabulary(words: list[str]) -> Vocabulary:
    return Vocabulary([w.encode() for w in words], np.zeros(len(words), bool))


def test_which_side_lost_its_spaces() -> None:
    spaced = [f" {w}" if i % 3 else w for i, w in enumerate(WORDS)]
    assert lost_spaces(spaced, vocabulary(WORDS), "m").startswith(
        "No token of m's tokenizer begins with a space, but 67%"
    )
    assert lost_spaces(WORDS, vocabulary(spaced), "m").startswith("No token of the pages begins with a space")
    assert lost_spaces(spaced, vocabulary(spaced), "m") == ""
    assert lost_spaces(WORDS, vocabulary(WORDS), "m") == ""
    assert lost_spaces(WORDS[:5], vocabulary(spaced), "m") == "", "five words show nothing"


def test_most_texts_left_out_is_no_judgement(stories, tmp_path, rng) -> None:
    """Pages by a program that decoded each token alone, by which it lost its leading space."""
    path = neox_folder(tmp_path / "m", stories, seed=seed(rng))
    subject = load_subject(path, device="cpu")
    rows = rows_of(subject)
    write_pages(tmp_path / "pages", subject, rows, {1: activations(subject, rows, 1, "post")}, model="x", neurons=20)
    for page in (tmp_path / "pages").rglob("*.html"):
        page.write_text(page.read_text(encoding="utf-8").replace('", " ', '", "'), encoding="utf-8")
    found = replayed(tmp_path, path, texts=100)
    assert found.left_out > found.texts
    assert (found.level, found.agrees) == ("unknown", False)
    said = conclusion(found)
    assert said.startswith(
        f"too little to judge by: of {found.texts + found.left_out} texts {found.left_out} are left out"
    )
    assert "No token of the pages begins with a space" in said
    assert "nan" not in said
    assert len(found.tried) == 1, "no alternative is tried"
    assert json.loads(replay_json(found))["level"] == "unknown"
    print_replay(found, out=(tmp_path / "out.txt").open("w", encoding="utf-8"))
    assert "nan" not in (tmp_path / "out.txt").read_text(encoding="utf-8")
