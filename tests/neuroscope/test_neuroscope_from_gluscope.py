"""GLUScope's published examples and made-up ones -> a store."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gluscope_twins import made, put, same
from listeners import silent

from neurolocal.errors import StoreError
from neurolocal.neuroscope.imports.kinds import import_any
from neurolocal.neuroscope.read.gluscope import read_example
from neurolocal.store import Store
from neurolocal.store.check import check


def test_the_published_examples(fixtures, tmp_path):
    folder, said = fixtures / "gluscope", []
    files = sorted(folder.glob("*.json"))
    found = import_any([folder], tmp_path / "a.h5", model="OLMo-7B-0424", say=said.append)
    assert (found.pages, found.texts) == (2, 2)
    told = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    same(tmp_path / "a.h5", {(22, 2589): told})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.h5"]
    with Store(tmp_path / "a.h5") as store:
        assert store.manifest["subject"]["name"] == "OLMo-7B-0424"
    for path, example in zip(files, told, strict=True):  # the file name's case is that of the masked activation's peak
        masked = np.array(example["values"])[:, example["labels"].index("gate+_in+_hook_post")]
        post = np.array(example["values"])[:, example["labels"].index("hook_post")]
        assert post[masked.argmax()] == masked.max()
        assert read_example(path).values["post"].tobytes() == np.float32(post).tobytes()


def test_made_up_examples_of_several_neurons(tmp_path, rng):
    (tmp_path / "in").mkdir()
    examples: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for layer, neuron in ((2, 5), (2, 9), (4, 5)):
        for number in range(3):
            one = made(rng, int(rng.integers(1, 90)))
            examples.setdefault((layer, neuron), []).append(one)
            put(tmp_path / "in", one, layer=layer, neuron=neuron, number=number)
    import_any([tmp_path / "in"], tmp_path / "a.h5", say=silent)
    same(tmp_path / "a.h5", examples)
    doubled = put(tmp_path / "in", examples[2, 5][0], number=7)
    said: list[str] = []
    import_any([tmp_path / "in"], tmp_path / "b.h5", say=said.append)
    assert any(doubled.name in line for line in said)
    same(tmp_path / "b.h5", examples)


def test_without_the_projections_there_are_no_sign_cases(tmp_path, rng):
    one = made(rng)
    one = {"tokens": one["tokens"], "labels": ["hook_post"], "values": [row[:1] for row in one["values"]]}
    put(tmp_path, one)
    import_any([tmp_path], tmp_path / "a.h5", say=silent)
    assert check(tmp_path / "a.h5", progress=False).faults == ()
    with Store(tmp_path / "a.h5") as store:
        assert (store.sites, store.cases(2)) == (("post",), None)


def test_examples_and_pages_are_not_imported_together(tmp_path, rng):
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "3.html").write_text("<html>")
    path = put(tmp_path, made(rng))
    for paths in ([path, tmp_path / "pages"], [tmp_path / "pages", path]):
        with pytest.raises(StoreError, match="Import each by itself"):
            import_any(paths, tmp_path / "a.h5", say=silent)
    other = shutil.copy(path, tmp_path / "pages" / "maxima.json")
    with pytest.raises(StoreError, match="by itself"):
        import_any([path, Path(other)], tmp_path / "a.h5", say=silent)
