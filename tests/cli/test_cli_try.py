"""`neurolocal try` as a program meets it: a store or a subject, JSON, what is refused before anything is loaded."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from neurolocal.cli.main import main
from neurolocal.cli.options import Neurons
from neurolocal.cli.try_text import is_store
from neurolocal.store import Store

TEXT = "Lily saw a frog."


@pytest.fixture
def run(monkeypatch, capfd):
    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["neurolocal", *map(str, arguments)])
        capfd.readouterr()
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        return code, *capfd.readouterr()

    return run


def test_a_store_names_its_subject_and_places_every_value(made: Path, run) -> None:
    code, out, _ = run("try", made / "store.h5", TEXT, "--layer", 3, "--neuron", "1,4", "--json", "--device", "cpu")
    assert code == 0
    found = json.loads(out)
    assert [(one["layer"], one["neuron"]) for one in found["neurons"]] == [(3, 1), (3, 4)]
    with Store(made / "store.h5") as store:
        largest = store.statistics(3).maximum[4]
    one = found["neurons"][1]
    assert one["shares"] == pytest.approx([value / largest for value in one["activations"]], rel=1e-5)
    code, out, _ = run("try", made / "store.h5", TEXT, "--neuron", "3:4", "--device", "cpu")
    assert code == 0
    assert "layer 3 · neuron 4" in out
    assert "\x1b" not in out


def test_a_subject_alone_gives_the_same_activations(made: Path, fixtures, run) -> None:
    with_store = json.loads(run("try", made / "store.h5", TEXT, "--neuron", "3:4", "--json", "--device", "cpu")[1])
    alone = json.loads(run("try", fixtures / "stories260k", TEXT, "--neuron", "3:4", "--json", "--device", "cpu")[1])
    assert alone["neurons"][0]["activations"] == pytest.approx(with_store["neurons"][0]["activations"], abs=1e-6)
    assert alone["tokens"] == with_store["tokens"]
    assert set(alone["neurons"][0]["shares"]) == {None}


def test_the_most_excited_neurons_and_a_comparison(made: Path, run) -> None:
    code, out, _ = run("try", made / "store.h5", TEXT, "--limit", 4, "--layers", "1-2", "--json", "--device", "cpu")
    shares = [one["peak_share"] for one in json.loads(out)["neurons"]]
    assert (code, len(shares)) == (0, 4)
    assert shares == sorted(shares, reverse=True)
    command = ("try", made / "store.h5", TEXT, "--compare", "Tom saw a fish.", "--limit", 2, "--device", "cpu")
    found = json.loads(run(*command, "--json")[1])
    assert len(found["changes"]) == 2
    assert "compared with" in run(*command)[1]


@pytest.mark.parametrize(
    ("more", "code", "says"),
    [
        (["--neuron", "9:4"], 1, "looking for layer 9"),
        (["--neuron", "3:172"], 1, "looking for neuron 172 of layer 3"),
        (["--layers", "8"], 1, "looking for layer 8"),
        (["--neuron", "4"], 2, "of which layer? Give one --layer, or --neuron 14:4"),
        (["--neuron", "4", "--layers", "1,2"], 2, "of which layer?"),
        (["--neuron", "3:4,1:2", "--layer", "3"], 2, "--neuron 1:2 is not of --layer"),
        (["--neuron", "4:x"], 2, "give LAYER:NEURON, for example 14:159,3:20"),
        (["--dtype", "float16"], 2, "--dtype beside a store"),
    ],
)
def test_what_a_store_does_not_hold_is_refused_before_the_subject_loads(
    made: Path, run, monkeypatch, more, code, says
) -> None:
    from neurolocal.pipeline.workspace import Workspace

    monkeypatch.setattr(Workspace, "loaded_subject", property(lambda self: pytest.fail("the subject was loaded")))
    ended, out, err = run("try", made / "store.h5", TEXT, *more)
    assert (ended, out) == (code, "")
    assert says in " ".join(err.split())
    assert "Traceback" not in err


def test_other_weights_are_refused(made: Path, fixtures, tmp_path, run) -> None:
    other = Path(shutil.copytree(fixtures / "stories260k", tmp_path / "other", copy_function=shutil.copyfile))
    config = other / "config.json"
    config.write_text(config.read_text().replace('"rms_norm_eps": 9', '"rms_norm_eps": 8'))
    code, out, err = run("try", made / "store.h5", TEXT, "--subject", other, "--neuron", "3:4", "--device", "cpu")
    assert (code, out) == (1, "")
    assert "made by other weights" in err


def test_a_subject_needs_neurons_and_takes_no_other_subject(fixtures, run) -> None:
    code, _, err = run("try", fixtures / "stories260k", TEXT)
    assert (code, "without a store, name the neurons: --neuron 14:159" in err) == (2, True)
    code, _, err = run("try", fixtures / "stories260k", TEXT, "--neuron", "1:1", "--subject", "x")
    assert (code, "is a subject itself" in err) == (2, True)


@pytest.mark.parametrize("source", ["absent.h5", "no/such/model", "a\0b", "x" * 5000])
def test_what_is_neither_is_one_line(source: str, run, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run("try", source, TEXT, "--neuron", "1:1")
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert "Traceback" not in err


def test_show_as_json_is_one_object_with_the_examples(made: Path, run) -> None:
    code, out, err = run("show", made / "store.h5", 3, 4, "--json", "--limit", 2)
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert (found["layer"], found["neuron"], len(found["examples"])) == (3, 4, 2)
    assert out.count("\n") == 1


def test_which_paths_are_stores(made: Path, fixtures, tmp_path) -> None:
    copy = Path(shutil.copy(made / "store.h5", tmp_path / "renamed"))
    assert is_store(str(copy))
    assert is_store("absent.h5")
    assert not is_store(str(fixtures / "stories260k"))
    assert not is_store(str(fixtures / "stories260k" / "stories260K.gguf"))
    assert not is_store("gpt2-small")


def test_neurons_of_an_option() -> None:
    assert Neurons().convert("14:159, 3", None, None) == ((14, 159), (None, 3))
