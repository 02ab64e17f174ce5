"""An open store: light to open, tables that are the report's, what it refuses."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import neurolocal
from neurolocal.errors import NeurolocalError, StoreError
from neurolocal.notebook import open_store
from neurolocal.report import report_object, report_rows


def test_looking_at_a_store_loads_no_torch_and_no_table(path: Path) -> None:
    code = (
        f"import sys, neurolocal\nstore = neurolocal.open_store({str(path)!r})\nneuron = store[2, 5]\n"
        "repr(store), repr(neuron), repr(neuron.examples), store._repr_html_(), neuron._repr_html_()\n"
        "print([name for name in ('torch', 'transformers', 'pandas', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_it_is_public_and_prints_as_the_store_does(path: Path) -> None:
    with neurolocal.open_store(path) as store:
        assert repr(store) == repr(store.store)
        assert "24 rows, complete" in repr(store)
        assert store.layers == [0, 1, 2, 3, 4]


def test_the_table_of_neurons_is_the_reports(opened) -> None:
    found = opened.neurons(layer=2)
    rows = report_object(opened.store, report_rows(opened.store, [2]))["neurons"]
    assert len(found) == len(rows) == 172
    assert {"layer", "neuron", "rank", "verdict", "score", "description", "tokens", "activation"} <= set(found.columns)
    assert not {"scores", "histogram", "words", "expert"} & set(found.columns)
    for name in found.columns:
        known = [value if value == value else None for value in found[name].tolist()]
        assert known == [row[name] for row in rows], name
    assert found["activation"].dtype == np.float64
    assert opened[found.layer[0], found.neuron[0]].row.rank == 1
    assert len(opened.neurons(layer=found.layer[0])) == 172
    assert opened.neurons(layer=found.layer[:1].to_numpy()).equals(found)
    assert opened.neurons().layer.value_counts().to_dict() == dict.fromkeys(range(5), 172)


def test_the_most_excited_neurons_are_those_that_asking_finds(opened) -> None:
    found, true = opened.strongest("Lily ran home.", n=4), opened.asking.strongest("Lily ran home.", n=4)
    assert [tuple(place) for place in found[["layer", "neuron"]].to_numpy()] == [
        (one.layer, one.neuron) for one in true.neurons
    ]
    assert found.share.tolist() == [one.peak_share for one in true.neurons]
    assert found.token.tolist() == [true.tokens[one.peak].text for one in true.neurons]


def test_its_html_has_the_facts_and_the_verdicts_of_judged_layers(opened) -> None:
    shown = opened._repr_html_()
    assert "<b>stories260k</b>" in shown
    assert "<th>1</th><td>172</td>" in shown
    assert "<th>3</th><td>172</td>" not in shown
    assert "Preliminary: in layers 1, 2 no word has been replaced yet" in shown
    assert "<script" not in shown


@pytest.mark.parametrize("place", [3, "a", (1, 2, 3), (1, "a"), (slice(None), 2)])
def test_what_is_no_neuron(opened, place) -> None:
    with pytest.raises(StoreError, match=r"give layer and neuron, as store\[14, 159\]"):
        opened[place]


def test_a_layer_or_neuron_that_is_not_there(opened, tmp_path) -> None:
    with pytest.raises(StoreError, match="looking for layer 9"):
        opened[9, 0]
    with pytest.raises(StoreError, match="looking for neuron 172"):
        opened[2, 172]
    with pytest.raises(StoreError, match="looking for layer 9"):
        opened.neurons(layer=9)
    with pytest.raises(StoreError, match="no such file"):
        open_store(tmp_path / "absent.h5")


def test_another_subject_is_refused(path: Path, fixtures: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(fixtures / "stories260k", tmp_path / "other", copy_function=shutil.copyfile))
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 1e-4}))
    with open_store(path, subject=other, device="cpu") as store, pytest.raises(StoreError, match="other weights"):
        store[2, 5].activation_on("Lily")


def test_without_pandas_it_says_what_to_install(opened, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(NeurolocalError, match=r"pandas is not installed\. Run: pip install 'neurolocal\[notebook\]'"):
        opened.neurons(layer=2)
