"""A subject is run on what pages say: itself agrees, and each way in which it may not be the pages' own is named."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from replay_twins import activations, neox_folder, rows_of, solu_folder, write_pages
from small_run import neurolocal, write_corpus

from neurolocal.cli.main import cli
from neurolocal.errors import StoreError, SubjectError
from neurolocal.neuroscope.imports.from_pages import import_pages
from neurolocal.neuroscope.replay.hypothesis import ReplayResult
from neurolocal.neuroscope.replay.job import ReplayJob, run, write
from neurolocal.neuroscope.replay.replay_output import conclusion, replay_json
from neurolocal.neuroscope.replay.rerun import FOLDED
from neurolocal.neuroscope.replay.search import replay
from neurolocal.store import Store, check
from neurolocal.subject import load_subject


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def stories(fixtures) -> Path:
    return fixtures / "stories260k"


def seed(rng) -> int:
    return int(rng.integers(2**31))


def replayed(folder: Path, subject: Path, *, site=None, others=(), dtype=None, texts=None) -> ReplayResult:
    store = folder / "pages.h5"
    found = import_pages([folder / "pages"], store, site=site, say=lambda line: None, bar=False)
    assert not found.problems
    with Store(store) as opened:
        job = ReplayJob(opened, subject=str(subject), dtype=dtype)
        return run(job, texts=texts, others=others, say=lambda line: None, bar=False)


def test_pages_of_the_subject_itself_agree(stories, tmp_path, rng) -> None:
    path = solu_folder(tmp_path / "m", stories, seed=seed(rng))
    subject = load_subject(path, device="cpu")
    rows = rows_of(subject)
    values = {layer: activations(subject, rows, layer, "mid") for layer in (0, 1)}
    write_pages(tmp_path / "pages", subject, rows, values, model="solu-2l")
    found = replayed(tmp_path, path)
    assert found.level == "float32"
    assert found.agrees
    assert found.fits.way.site == "mid"
    assert found.relative < 1e-5
    assert (found.texts, found.same_peak, found.left_out) == (96, 96, 0)
    assert found.activations == 96 * rows.shape[1]
    assert found.asked.correlation == pytest.approx(1, abs=1e-9)
    assert "within float32" in conclusion(found)


@pytest.mark.parametrize(
    ("model", "made_at", "taken_for", "named"),
    [("solu-2l", "post", None, "post"), ("gelu-2l", "mid", None, "mid"), ("solu-2l", "pre", None, "pre")],
)
def test_a_wrong_hook_is_named(model, made_at, taken_for, named, stories, tmp_path, rng) -> None:
    path = solu_folder(tmp_path / "m", stories, seed=seed(rng))
    subject = load_subject(path, device="cpu")
    rows = rows_of(subject)
    values = {1: activations(subject, rows, 1, made_at)}
    write_pages(tmp_path / "pages", subject, rows, values, model=model)
    found = replayed(tmp_path, path, site=taken_for)
    assert found.asked.agree < 0.9
    assert (found.fits.way.site, found.level) == (named, "float32")
    assert f"read at {named}, not {found.asked.way.site}" in conclusion(found)
    assert found.agrees, "weights and tokenizer are right; the site is one that the subject has"


def test_a_folded_layer_norm_is_named(stories, tmp_path, rng) -> None:
    path = solu_folder(tmp_path / "m", stories, seed=seed(rng))
    subject = load_subject(path, device="cpu")
    rows = rows_of(subject)
    mid = torch.from_numpy(activations(subject, rows, 1, "mid"))
    folded = (mid - mid.mean(-1, keepdim=True)) / (mid.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    write_pages(tmp_path / "pages", subject, rows, {1: folded.numpy()}, model="gelu-2l")
    found = replayed(tmp_path, path)
    assert found.fits.way.site == FOLDED
    assert FOLDED in conclusion(found)
    assert not found.agrees, "the subject has no such site"


def test_a_bos_that_the_pages_do_not_show_is_named(stories, tmp_path, rng) -> None:
    path = neox_folder(tmp_path / "m", stories, seed=seed(rng))
    subject = load_subject(path, device="cpu")
    rows = rows_of(subject)
    values = {layer: activations(subject, rows, layer, "post")[:, 1:] for layer in (0, 1)}
    write_pages(tmp_path / "pages", subject, rows, values, model="pythia-2l", first=1)
    found = replayed(tmp_path, path)
    assert (found.fits.way.bos, found.level) == ("put before", "float32")
    assert "a BOS that the pages do not show" in conclusion(found)


def test_a_bos_that_was_not_run_is_named(stories, tmp_path, rng) -> None:
    path = neox_folder(tmp_path / "m", stories, seed=seed(rng))
    subject = load_subject(path, device="cpu")
    rows = rows_of(subject)
    values = activations(subject, rows[:, 1:], 1, "post")
    values = np.concatenate([np.zeros_like(values[:, :1]), values], axis=1)
    write_pages(tmp_path / "pages", subject, rows, {1: values}, model="pythia-2l")
    found = replayed(tmp_path, path)
    assert (found.fits.way.bos, found.level) == ("left out", "float32")
    assert "the BOS that the pages show was not run" in conclusion(found)


@pytest.mark.parametrize("shift", [1, -1])
def test_values_beside_their_tokens_are_named(shift, stories, tmp_path, rng) -> None:
    path = neox_folder(tmp_path / "m", stories, seed=seed(rng))
    subject = load_subject(path, device="cpu")
    rows = rows_of(subject)
    values = np.roll(activations(subject, rows, 1, "post"), shift, axis=1)
    values[:, 0 if shift > 0 else -1] = 0
    write_pages(tmp_path / "pages", subject, rows, {1: values}, model="pythia-2l")
    found = replayed(tmp_path, path)
    assert found.fits.way.shift == shift
    assert f"1 position {'behind' if shift > 0 else 'before'} their tokens" in conclusion(found)


@pytest.mark.parametrize("made_in", ["bfloat16", "autocast"])
def test_bfloat16_is_named(made_in, stories, tmp_path, rng) -> None:
    path = neox_folder(tmp_path / "m", stories, seed=seed(rng))
    subject = load_subject(path, dtype="float32" if made_in == "autocast" else made_in, device="cpu")
    rows = rows_of(subject)
    values = {layer: activations(subject, rows, layer, "post", autocast=made_in == "autocast") for layer in (0, 1)}
    write_pages(tmp_path / "pages", subject, rows, values, model="pythia-2l")
    found = replayed(tmp_path, path, dtype="float32")
    assert found.asked.agree < 0.9
    assert found.fits.way.dtype == made_in
    assert found.level == "bfloat16"
    assert found.agrees
    assert "bfloat16" in conclusion(found)


def test_another_checkpoint_is_named_where_it_is_given(stories, tmp_path, rng) -> None:
    first = seed(rng)
    path = neox_folder(tmp_path / "m", stories, seed=first)
    other = neox_folder(tmp_path / "other", stories, seed=first + 1)
    subject = load_subject(other, device="cpu")
    rows = rows_of(subject)
    write_pages(tmp_path / "pages", subject, rows, {1: activations(subject, rows, 1, "post")}, model="pythia-2l")
    alone = replayed(tmp_path, path)
    assert (alone.level, alone.agrees) == ("nothing", False)
    assert "other weights, or another tokenizer" in conclusion(alone)
    found = replayed(tmp_path, path, others=[str(other)])
    assert (found.fits.way.subject, found.level, found.agrees) == ("other", "float32", False)
    assert "the subject is other, not m" in conclusion(found)
    assert replayed(tmp_path, other).agrees


def test_pythias_re_release_is_tried_by_itself(stories, tmp_path, rng) -> None:
    first = seed(rng)
    path = neox_folder(tmp_path / "pythia-2l", stories, seed=first)
    old = neox_folder(tmp_path / "pythia-2l-v0", stories, seed=first + 1)
    subject = load_subject(old, device="cpu")
    rows = rows_of(subject)
    write_pages(tmp_path / "pages", subject, rows, {0: activations(subject, rows, 0, "post")}, model="pythia-2l")
    found = replayed(tmp_path, path)
    assert found.fits.way.subject == "pythia-2l-v0"


def test_a_model_of_another_shape_or_without_the_site_is_refused(stories, tmp_path, rng) -> None:
    path = solu_folder(tmp_path / "m", stories, seed=seed(rng))
    subject = load_subject(path, device="cpu")
    rows = rows_of(subject)
    write_pages(tmp_path / "pages", subject, rows, {1: activations(subject, rows, 1, "mid")}, model="solu-2l")
    with pytest.raises(SubjectError, match="read at mid, the subject has post, pre"):
        replayed(tmp_path, neox_folder(tmp_path / "neox", stories, seed=1))
    write_pages(tmp_path / "pages", subject, rows, {7: activations(subject, rows, 1, "mid")}, model="solu-2l")
    with pytest.raises(StoreError, match="neuron 5 of layer 7"):
        replayed(tmp_path, path)


def test_tokens_that_the_tokenizer_does_not_have_are_counted(stories, tmp_path, rng) -> None:
    path = neox_folder(tmp_path / "m", stories, seed=seed(rng))
    subject = load_subject(path, device="cpu")
    rows = rows_of(subject, 3)
    write_pages(tmp_path / "pages", subject, rows, {1: activations(subject, rows, 1, "post")}, model="x", neurons=2)
    for page in (tmp_path / "pages").rglob("*.html"):
        page.write_text(page.read_text(encoding="utf-8").replace('"<s>"', '"<|unheard of|>"'), encoding="utf-8")
    with pytest.raises(StoreError, match=r"none can be put into its token ids \(3 tokens that it does not have"):
        replayed(tmp_path, path)


def test_the_round_trip_of_the_command_line(stories, tmp_path) -> None:
    """Collect, export, import, replay, adopt: what comes out can be perturbed, and says what was collected."""
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


def test_a_layer_that_is_wrong_is_not_outvoted(stories, tmp_path, rng) -> None:
    """Layer 0 speaks thirty times as loud and is right; the neurons of layer 1 are permuted."""
    path = neox_folder(tmp_path / "m", stories, seed=seed(rng))
    subject = load_subject(path, device="cpu")
    rows = rows_of(subject)
    values = {layer: activations(subject, rows, layer, "post") for layer in (0, 1)}
    right = {0: values[0], 1: values[1][:, :, ::-1]}
    write_pages(tmp_path / "pages", subject, rows, right, model="x", neurons=12)
    found = replayed(tmp_path, path)
    assert found.asked.agree < 0.6
    assert not found.agrees
    assert found.asked.correlation < 0.9, "that of the worst layer"


def test_texts_that_are_wrong_outside_of_the_rows_tried_are_not_forgotten(stories, tmp_path, rng, monkeypatch) -> None:
    """The suspects are tried on a few rows in which the subject is right: it must not be said to agree."""
    monkeypatch.setattr("neurolocal.neuroscope.replay.search.TRIAL_ROWS", 3)
    path = neox_folder(tmp_path / "m", stories, seed=seed(rng))
    subject = load_subject(path, device="cpu")
    rows = rows_of(subject)
    values = activations(subject, rows, 1, "post").copy()
    values[3:] = values[3:, ::-1]
    write_pages(tmp_path / "pages", subject, rows, {1: values}, model="x")
    store = tmp_path / "pages.h5"
    import_pages([tmp_path / "pages"], store, say=lambda line: None, bar=False)
    with Store(store) as opened:
        found = run(ReplayJob(opened, subject=str(path)), texts=None, say=lambda line: None, bar=False)
    assert found.asked.agree < 0.5
    assert (found.level, found.agrees) == ("nothing", False)
    assert "nothing that was tried fits" in conclusion(found)


def test_a_checkpoint_of_the_same_name_is_another(stories, tmp_path, rng) -> None:
    first = seed(rng)
    path = neox_folder(tmp_path / "a" / "m", stories, seed=first)
    other = neox_folder(tmp_path / "b" / "m", stories, seed=first + 1)
    subject = load_subject(other, device="cpu")
    rows = rows_of(subject)
    write_pages(tmp_path / "pages", subject, rows, {1: activations(subject, rows, 1, "post")}, model="pythia-2l")
    found = replayed(tmp_path, path, others=[str(other)])
    assert (found.fits.way.weights, found.level, found.agrees) == (subject.sha256, "float32", False)
    assert "the subject is another m (" in conclusion(found)


def test_a_subject_that_gives_nan_does_not_agree(stories, tmp_path, rng) -> None:
    path = neox_folder(tmp_path / "m", stories, seed=seed(rng))
    subject = load_subject(path, device="cpu")
    rows = rows_of(subject)
    write_pages(tmp_path / "pages", subject, rows, {1: activations(subject, rows, 1, "post")}, model="x")
    store = tmp_path / "pages.h5"
    import_pages([tmp_path / "pages"], store, say=lambda line: None, bar=False)
    with Store(store) as opened:
        job = ReplayJob(opened, subject=str(path))

        def load(name, dtype):
            broken = job.load(name, dtype)
            broken.model.gpt_neox.embed_in.weight[5:] = torch.nan
            return broken

        found = replay(opened, load, dtype="float32", texts=None, say=lambda line: None, bar=False)
    assert found.largest == float("inf")
    assert (found.level, found.agrees) == ("nothing", False)
    json.loads(replay_json(found))


def test_rows_of_which_only_windows_were_seen_lack_no_tokens(stories, tmp_path, rng) -> None:
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
