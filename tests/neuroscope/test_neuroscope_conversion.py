"""An imported store -> a store in a subject's token ids."""

from __future__ import annotations

import pytest
from replay_twins import activations, neox_folder, rows_of, run_command, write_pages
from small_run import write_vectors

from neurolocal.neuroscope.imports.from_pages import import_pages
from neurolocal.neuroscope.replay.conversion import convert
from neurolocal.store import Store, check
from neurolocal.subject import load_subject


def broken(section: str, at: int) -> str:
    """The section with U+FFFD as token `at` of its row, in window and full text."""
    import json
    import re

    position = int(re.findall(r"Token Index: <b>(\d+)</b>", section)[0])
    begins = iter([max(position - 50, 0), 0])

    def change(found: re.Match[str]) -> str:
        said, place = json.loads(found[1]), at - next(begins)
        if 0 <= place < len(said["tokens"]):
            said["tokens"][place] = "\ufffd"
        return f"ColoredTokens, {json.dumps(said, ensure_ascii=False)} )"

    return re.sub(r"ColoredTokens, (\{.*\}) \)", change, section)


def test_rows_are_cut_before_a_token_with_no_known_id(fixtures, tmp_path, rng) -> None:
    path = neox_folder(tmp_path / "m", fixtures / "stories260k", seed=int(rng.integers(2**31)))
    subject = load_subject(path, device="cpu")
    rows = rows_of(subject, 6)
    values = activations(subject, rows, 1, "post")
    write_pages(tmp_path / "pages", subject, rows, {1: values}, model="x", neurons=4)
    at = 20
    for page in (tmp_path / "pages").rglob("*.html"):  # one token of row 102 becomes half of a character
        text = page.read_text(encoding="utf-8")
        for section in text.split("<hr>\n"):
            if "Data Index: <b>102</b>" in section:
                text = text.replace(section, broken(section, at))
        page.write_text(text, encoding="utf-8")
    found = import_pages([tmp_path / "pages"], tmp_path / "a.h5", say=lambda line: None, bar=False)
    assert not found.problems
    with Store(tmp_path / "a.h5") as store:
        done = convert(store, subject, tmp_path / "ids.h5", dtype="float32")
        peaks = {n: {e.row: e.position for e in store.examples(1, n)} for n in range(4)}
    behind = sum(peaks[n][102] >= at for n in range(4))
    assert (done.examples, done.left_out, done.cut) == (24 - behind, behind, 1)
    with Store(tmp_path / "ids.h5") as store:
        for i in range(6):
            whole = rows[i].tolist()
            if 100 + i in store.row_index:
                assert store.row(100 + i).tolist() == (whole[:at] if i == 2 else whole)
        kept = {n: {e.row: e.activation for e in store.examples(1, n)} for n in store.neurons(1).tolist()}
        for n, examples in kept.items():
            for row, activation in examples.items():
                assert activation == pytest.approx(values[row - 100, peaks[n][row], n], abs=1e-6)
        assert store.manifest["source"]["tokens"] == "ids"
    assert check(tmp_path / "ids.h5", progress=False).faults == ()
    words = write_vectors(tmp_path / "vectors.txt")
    run_command("perturbation", "ids.h5", "--vectors", words, "--examples", 2, cwd=tmp_path)
    with Store(tmp_path / "ids.h5") as store:
        assert store.evidence("perturbation", 1).n_examples.max() > 0
