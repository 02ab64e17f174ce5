"""A run by Neuroscope's conventions, its pages, and their import, on every kind of model that the site shows."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from reader_twins import by_scripts, by_sections, by_splitting
from replay_twins import gpt2_folder, neox_folder, solu_folder
from small_run import write_corpus, write_vectors

from neurolocal.cli.main import cli
from neurolocal.store import Store, check

MODELS: dict[str, Any] = {
    "solu": lambda folder, stories, seed: solu_folder(folder, stories, seed=seed),
    "gelu": lambda folder, stories, seed: solu_folder(folder, stories, seed=seed, act_fn="gelu"),
    "gpt2": lambda folder, stories, seed: gpt2_folder(folder, stories, seed=seed),
    "pythia": lambda folder, stories, seed: neox_folder(folder, stories, seed=seed),
}


def done(*arguments: object, cwd: Path) -> str:
    """What a command prints, run in this process: a new process would import torch each time."""
    with contextlib.chdir(cwd):
        ended = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert ended.exit_code == 0, f"{arguments}: {ended.exception!r} {ended.output[-1500:]}"
    return ended.stdout


def assert_equal_to_six_decimals(own: Path, theirs: Path, *, k: int = 20) -> None:
    """The same examples and activations; those that are equal to six decimals may be in another order."""
    with Store(own) as a, Store(theirs) as b:
        assert a.site == b.site
        for layer in b.layers:
            mine, yours = a.top(layer, "largest"), b.top(layer, "largest")
            at = np.searchsorted(a.neurons(layer), b.neurons(layer))
            kept = yours.row.shape[1]
            assert np.allclose(mine.activation[at][:, :kept], yours.activation, atol=1.01e-6, equal_nan=True)
            assert np.isnan(mine.activation[at][:, kept:]).all()
            for i, neuron in enumerate(b.neurons(layer).tolist()):
                own_examples = {e.row: e for e in a.examples(layer, neuron)}
                for example in b.examples(layer, neuron):
                    one = own_examples[example.row]
                    assert (example.position, example.start) == (one.position, one.start)
                    assert np.allclose(example.activations, one.activations, atol=1.01e-6)
                    assert b.vocabulary.str_tokens(example.tokens) == a.vocabulary.str_tokens(one.tokens)
                assert len(b.examples(layer, neuron)) == min(k, (yours.row[i] >= 0).sum())


@pytest.mark.parametrize("kind", MODELS)
def test_the_preset_end_to_end(kind, fixtures, tmp_path, rng) -> None:
    seed = int(rng.integers(2**31))
    model = MODELS[kind](tmp_path / f"{kind}-2l", fixtures / "stories260k", seed)
    corpus = write_corpus(tmp_path / "corpus.jsonl", documents=16)
    done("collect", "--subject", model, "--corpus", corpus, "--store", "own.h5", "--preset", "neuroscope",
         "--row-length", 64, "--logits", 0, cwd=tmp_path)  # fmt: skip
    with Store(tmp_path / "own.h5") as own:
        assert own.site == ("mid" if kind == "solu" else "post")
        assert own.manifest["config"]["count_bos"]
    done("neuroscope", "export", "own.h5", "site", cwd=tmp_path)
    pages = sorted((tmp_path / "site" / f"{kind}-2l" / "1").glob("[0-9]*.html"))
    assert len(pages) == (64 if kind in ("gpt2", "pythia") else 48)
    for page in pages[:5]:
        text = page.read_text(encoding="utf-8")
        assert len(by_scripts(text)) == len(by_splitting(text)[1]) == 20
        assert len(by_sections(text, layer=1, neuron=int(page.stem))) == 20
    done("neuroscope", "import", "site", "--out", "theirs.h5", cwd=tmp_path)
    assert check(tmp_path / "theirs.h5", progress=False).faults == ()
    assert_equal_to_six_decimals(tmp_path / "own.h5", tmp_path / "theirs.h5")
    said = json.loads(done("neuroscope", "replay", "theirs.h5", "--subject", model, "--json", cwd=tmp_path))
    assert (said["agrees"], said["level"]) == (True, "float32")
    assert said["relative"] < 1e-5
    compared = json.loads(done("neuroscope", "compare", "own.h5", "theirs.h5", "--json", cwd=tmp_path))
    for layer in compared["layers"]:
        assert layer["spearman"] == pytest.approx(1, abs=1e-3)
        assert layer["jaccard"] > 0.99


@pytest.mark.slow
def test_smollm2_round_trip(tmp_path) -> None:
    """The demo's model: pages of two of its layers are its own, and bfloat16 and another site are recognised."""
    corpus = write_corpus(tmp_path / "corpus.jsonl", documents=18)
    settings = ["--row-length", 128, "--layers", "2,9", "--neurons", "0-29", "--logits", 0, "--count-bos"]
    common = ["collect", "--subject", "smollm2", "--corpus", corpus, *settings]
    done(*common, "--store", "own.h5", cwd=tmp_path)
    done("neuroscope", "export", "own.h5", "site", cwd=tmp_path)
    done("neuroscope", "import", "site", "--out", "theirs.h5", cwd=tmp_path)
    assert_equal_to_six_decimals(tmp_path / "own.h5", tmp_path / "theirs.h5")
    replay = ["neuroscope", "replay", "theirs.h5", "--subject", "smollm2", "--json", "--texts", 60]
    said = json.loads(done(*replay, cwd=tmp_path))
    assert (said["agrees"], said["level"]) == (True, "float32")
    assert said["relative"] < 1e-5

    done(*common, "--store", "low.h5", "--dtype", "bfloat16", cwd=tmp_path)
    done("neuroscope", "export", "low.h5", "low", "--model", "low", cwd=tmp_path)
    done("neuroscope", "import", "low", "--out", "low_pages.h5", cwd=tmp_path)
    low = ["neuroscope", "replay", "low_pages.h5", "--subject", "smollm2", "--dtype", "float32"]
    said = json.loads(done(*low, "--json", "--texts", 40, cwd=tmp_path))
    assert said["fits"]["way"]["dtype"] == "bfloat16", said["conclusion"]
    assert said["asked"]["agree"] < 0.9

    done("neuroscope", "import", "site", "--out", "gate.h5", "--site", "pre", cwd=tmp_path)
    said = json.loads(
        done("neuroscope", "replay", "gate.h5", "--subject", "smollm2", "--json", "--texts", 40, cwd=tmp_path)
    )
    assert said["fits"]["way"]["site"] == "post", said["conclusion"]


@pytest.mark.slow
def test_the_sites_own_rows_as_a_corpus(fixtures, tmp_path) -> None:
    """160 real rows of the Pile, as the site shows them, through every stage for another subject."""
    texts = fixtures / "neuroscope" / "solu-8l-old-texts.jsonl"
    stories = fixtures / "stories260k"
    done("collect", "--subject", stories, "--corpus", texts, "--store", "own.h5", "--preset", "neuroscope",
         "--row-length", 256, "--layers", 3, cwd=tmp_path)  # fmt: skip
    with Store(tmp_path / "own.h5") as own:
        assert own.manifest["corpus"]["documents"] == 160
        rows = own.manifest["rows"]
    assert rows > 1000
    words = write_vectors(tmp_path / "vectors.txt")
    done("similarity", "own.h5", "--layers", 3, "--vectors", "corpus", "--side", "largest", cwd=tmp_path)
    done("perturbation", "own.h5", "--layers", 3, "--vectors", words, "--side", "largest", "--screen", 40, cwd=tmp_path)
    done("verdict", "own.h5", "--layers", 3, "--side", "largest", cwd=tmp_path)
    done("summary", "own.h5", "--layers", 3, "--vectors", words, "--side", "largest", "--limit", 10, cwd=tmp_path)
    reported = json.loads(done("report", "own.h5", "--layer", 3, "--json", cwd=tmp_path))
    assert len(reported["neurons"]) == 172
    assert all(neuron["verdict"] for neuron in reported["neurons"])
    done("neuroscope", "export", "own.h5", "site", "--layers", 3, cwd=tmp_path)
    done("neuroscope", "import", "site", "--out", "theirs.h5", cwd=tmp_path)
    assert check(tmp_path / "theirs.h5", progress=False).faults == ()
    assert_equal_to_six_decimals(tmp_path / "own.h5", tmp_path / "theirs.h5")
    said = json.loads(done("neuroscope", "replay", "theirs.h5", "--subject", stories, "--json", cwd=tmp_path))
    assert said["agrees"], said["conclusion"]


def test_the_preset_on_a_model_with_few_positions(fixtures, tmp_path) -> None:
    """The preset's rows have 1,024 tokens."""
    model = gpt2_folder(tmp_path / "small", fixtures / "stories260k", seed=1)
    corpus = write_corpus(tmp_path / "corpus.jsonl", documents=4)
    arguments = ["collect", "--subject", model, "--corpus", corpus, "--preset", "neuroscope", "--logits", 0,
                 "--neurons", "0-3", "--layers", 0]  # fmt: skip
    with contextlib.chdir(tmp_path):
        ended = CliRunner().invoke(cli, [str(a) for a in [*arguments, "--store", "own.h5"]])
        refused = CliRunner().invoke(cli, [str(a) for a in [*arguments, "--store", "b.h5", "--row-length", 1024]])
    assert ended.exit_code == 0, ended.output
    assert "small has 64 positions: rows have as many tokens, not the preset's 1,024" in ended.output
    with Store(tmp_path / "own.h5") as own:
        assert own.manifest["config"]["row_length"] == 64
    assert refused.exit_code == 1, "who asks for 1,024 is told that there are 64"
