"""A store's texts in a subject's ids: unknown tokens and tokens that no page shows."""

from __future__ import annotations

import re

import pytest
from replay_twins import activations, neox_folder, replayed, rows_of, seed, write_pages

from neurolocal.errors import StoreError
from neurolocal.neuroscope.imports.from_pages import import_pages
from neurolocal.neuroscope.replay.job import ReplayJob, run
from neurolocal.store import Store
from neurolocal.subject import load_subject

pytestmark = pytest.mark.usefixtures("one_thread")


def test_tokens_that_the_tokenizer_does_not_have_are_counted(stories, tmp_path, rng) -> None:
    path = neox_folder(tmp_path / "m", stories, seed=seed(rng))
    subject = load_subject(path, device="cpu")
    rows = rows_of(subject, 3)
    write_pages(tmp_path / "pages", subject, rows, {1: activations(subject, rows, 1, "post")}, model="x", neurons=2)
    for page in (tmp_path / "pages").rglob("*.html"):
        page.write_text(page.read_text(encoding="utf-8").replace('"<s>"', '"<|unheard of|>"'), encoding="utf-8")
    with pytest.raises(StoreError, match=r"none can be put into its token ids \(3 tokens that it does not have"):
        replayed(tmp_path, path)


def test_unseen_tokens_do_not_count_as_absent(stories, tmp_path, rng) -> None:
    path = neox_folder(tmp_path / "m", stories, seed=seed(rng))
    subject = load_subject(path, device="cpu")
    rows = rows_of(subject)
    write_pages(tmp_path / "pages", subject, rows, {1: activations(subject, rows, 1, "post")}, model="x")
    for page in (tmp_path / "pages").rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        page.write_text(re.sub(r"<h3>Full Text.*?</details>", "", text, flags=re.DOTALL), encoding="utf-8")
    store = tmp_path / "pages.h5"
    import_pages([tmp_path / "pages"], store, say=lambda line: None, bar=False)
    with Store(store) as opened:
        found = run(ReplayJob(opened, subject=str(path)), texts=None, say=lambda line: None, bar=False)
    assert (found.absent, found.ambiguous) == (0, 0)
    assert found.agrees
