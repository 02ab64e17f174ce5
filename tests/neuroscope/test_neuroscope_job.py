"""A replay as the command runs it: which checkpoints are tried, and the store that it writes."""

from __future__ import annotations

import contextlib
import json

import numpy as np
import pytest
from click.testing import CliRunner
from replay_twins import activations, neox_folder, replayed, rows_of, seed, write_pages
from small_run import neurolocal, write_corpus

from neurolocal.cli.main import cli
from neurolocal.errors import StoreError
from neurolocal.neuroscope.replay.job import ReplayJob, write
from neurolocal.neuroscope.replay.replay_output import replay_json
from neurolocal.store import Store, check
from neurolocal.subject import load_subject

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_other_release_of_pythia_is_tried_automatically(stories, tmp_path, rng) -> None:
    first = seed(rng)
    path = neox_folder(tmp_path / "pythia-2l", stories, seed=first)
    old = neox_folder(tmp_path / "pythia-2l-v0", stories, seed=first + 1)
    subject = load_subject(old, device="cpu")
    rows = rows_of(subject)
    write_pages(tmp_path / "pages", subject, rows, {0: activations(subject, rows, 0, "post")}, model="pythia-2l")
    found = replayed(tmp_path, path)
    assert found.fits.way.subject == "pythia-2l-v0"


def test_the_round_trip_of_the_command_line(stories, tmp_path) -> None:
    """Collect, export, import, replay, convert: the result equals the collected store, and can be perturbed."""
    corpus = write_corpus(tmp_path / "corpus.jsonl", documents=30)
    settings = ["--preset", "neuroscope", "--row-length", "48", "--layers", "1,3", "--logits", "0"]
    for command in (
        ["collect", "--subject", stories, "--corpus", corpus, "--store", "own.h5", *settings],
        ["neuroscope", "export", "own.h5", "site"],
        ["neuroscope", "import", "site", "--out", "theirs.h5"],
        ["neuroscope", "replay", "theirs.h5", "--subject", stories, "--out", "adopted.h5", "--json"],
    ):
        with contextlib.chdir(tmp_path):
            done = CliRunner().invoke(cli, [str(argument) for argument in command])
        assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["agrees"]
    assert said["level"] == "float32"
    assert said["relative"] < 1e-5
    with Store(tmp_path / "own.h5") as own, Store(tmp_path / "theirs.h5") as theirs:
        for layer in (1, 3):
            a, b = own.top(layer, "largest"), theirs.top(layer, "largest")
            used = a.row >= 0
            assert np.allclose(a.activation[used], b.activation[: len(a.row)][used], atol=1e-6)
            assert (a.row[used] == b.row[used]).mean() > 0.99, "equal to six decimals, ties may stand in another order"
    assert check(tmp_path / "adopted.h5", progress=False).faults == ()
    again = CliRunner().invoke(cli, ["check", str(tmp_path / "adopted.h5"), "--replay", "50"])
    assert again.exit_code == 0, again.output


def test_an_imported_store_cannot_run_a_subject_before_its_ids_are_known(stories, tmp_path, rng) -> None:
    path = neox_folder(tmp_path / "m", stories, seed=seed(rng))
    subject = load_subject(path, device="cpu")
    rows = rows_of(subject, 3)
    write_pages(tmp_path / "pages", subject, rows, {1: activations(subject, rows, 1, "post")}, model="x", neurons=2)
    found = replayed(tmp_path, path)
    done = neurolocal("perturbation", "pages.h5", "--subject", path, cwd=tmp_path)
    assert done.returncode == 1
    assert "neuroscope replay" in done.stderr
    with Store(tmp_path / "pages.h5") as opened:
        job = ReplayJob(opened, subject=str(path))
        write(job, found, tmp_path / "ids.h5", say=lambda line: None)
        with pytest.raises(StoreError, match="the file exists"):
            write(job, found, tmp_path / "ids.h5", say=lambda line: None)
    with Store(tmp_path / "ids.h5") as adopted:
        assert adopted.manifest["subject"]["sha256"] == subject.sha256
        assert [adopted.row(100 + i).tolist() for i in range(3)] == rows.tolist()
    assert json.loads(replay_json(found))["agrees"]
