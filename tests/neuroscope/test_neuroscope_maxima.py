"""Lists of maxima: real ones exactly, hostile ones refused with the place named."""

import json

import numpy as np
import pytest

from neurolocal.errors import StoreError
from neurolocal.neuroscope.read import maxima
from neurolocal.neuroscope.read.maxima import is_list, read_maxima


def write(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("name", "width", "doubted"),
    [
        ("pythia-70m", 2048, []),
        ("solu-6l-pile", 3072, [(0, 373), (0, 1445), (0, 2108), (0, 2205), (2, 348), (3, 3043), (5, 70)]),
    ],
)
def test_real_lists(fixtures, name, width, doubted):
    path = fixtures / "neuroscope" / "max-activations" / f"{name}.json"
    layers = read_maxima(path)
    assert [layer.activation.tolist() for layer in layers] == json.loads(path.read_text())
    assert [len(layer.activation) for layer in layers] == [width] * 6
    assert [(i, n) for i, one in enumerate(layers) for n in np.flatnonzero(~one.trusted).tolist()] == doubted


def test_trust_against_a_loop(rng, tmp_path):
    layers = [rng.choice([0.0, -0.1, 1.5, 2.0], rng.integers(1, 30)).tolist() for _ in range(5)]
    for values, one in zip(layers, read_maxima(write(tmp_path / "m.json", json.dumps(layers))), strict=True):
        assert one.activation.tolist() == values
        assert one.trusted.tolist() == [i == 0 or values[i - 1] != value for i, value in enumerate(values)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no JSON"),
        ("[[1.0, 2.0", "no JSON"),
        (b"\xff\xfe[[1]]", "no JSON"),
        ("[[" + "9" * 5000 + "]]", "no JSON"),
        ("{}", "an object"),
        ("3", "a number"),
        ("[]", "an empty list"),
        ("[[1.0], []]", "layer 1 is an empty list"),
        ("[[1.0], 2.0]", "layer 1 is a number"),
        ("[1.0]", "layer 0 is a number"),
        ("[[1], [0, NaN]]", "layer 1, neuron 1 is NaN"),
        ("[[1], [0, 2, -Infinity]]", "layer 1, neuron 2 is NaN, infinite"),
        ("[[1e999]]", "layer 0, neuron 0 is NaN, infinite"),
        ("[[" + "9" * 400 + "]]", "layer 0, neuron 0 is NaN, infinite"),
        ('[["1.0"]]', "layer 0, neuron 0 is the string '1.0'"),
        ('[["\\u202e\\u001b[31m"]]', r"'\\u202e\\x1b[31m'"),
        ("[[true]]", "layer 0, neuron 0 is true"),
        ("[[1.0, null]]", "layer 0, neuron 1 is null"),
        ("[[[1.0]]]", "layer 0, neuron 0 is a list"),
        ("[" * 100_000 + "]" * 100_000, "without end"),
    ],
)
def test_other_content_is_refused_with_its_place(tmp_path, text, said):
    path = write(tmp_path / "m.json", text)
    with pytest.raises(StoreError) as caught:
        read_maxima(path)
    message = str(caught.value)
    assert said.replace(r"\\", "\\") in message
    assert str(path) in message
    assert "\n" not in message
    assert len(message) < 500


def test_missing_and_too_large(tmp_path, monkeypatch):
    with pytest.raises(StoreError, match="no such file"):
        read_maxima(tmp_path / "none.json")
    monkeypatch.setattr(maxima, "LARGEST_FILE", 10)
    with pytest.raises(StoreError, match="11 bytes, at most 10 are read"):
        read_maxima(write(tmp_path / "m.json", "[[1.0,2.0]]"))


def test_which_files_are_recognised_as_lists(tmp_path):
    assert is_list(write(tmp_path / "a.json", "{"))
    assert is_list(write(tmp_path / "a", " \n[[1]]"))
    assert is_list(tmp_path / "absent.json")
    assert not is_list(write(tmp_path / "b.json", b"\x89HDF\r\n\x1a\n"))
    assert not is_list(write(tmp_path / "b", "text"))
    assert not is_list(tmp_path / "absent.h5")
