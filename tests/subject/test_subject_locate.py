"""The layers that a model states, without loading it; what does not state them plainly is left to loading."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from neurolocal.errors import SubjectError
from neurolocal.subject import locate
from neurolocal.subject.locate import embedded_gguf, require_subject, stated_layers


@pytest.mark.parametrize(
    ("config", "layers"),
    [
        ({"num_hidden_layers": 7}, 7),
        ({"n_layer": 12}, 12),
        ({"num_layers": 3, "num_hidden_layers": 3}, 3),
        ({"num_layers": 3, "num_hidden_layers": 4}, None),
        ({"num_hidden_layers": 9, "text_config": {"num_hidden_layers": 26}}, 26),
        ({"vision_config": {"num_hidden_layers": 9}}, None),
        ({"num_hidden_layers": True}, None),
        ({"num_hidden_layers": "7"}, None),
        ({"num_hidden_layers": 0}, None),
        ({"num_hidden_layers": [7]}, None),
        ({"text_config": 7}, None),
        ([], None),
        (None, None),
    ],
)
def test_layers_of_a_config(config, layers: int | None, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert stated_layers(tmp_path) == layers


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\xff"])
def test_a_damaged_config_states_nothing(text: str, tmp_path: Path) -> None:
    assert stated_layers(tmp_path) is None, "there is no config"
    (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    assert stated_layers(tmp_path) is None


def test_a_config_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "config.json").write_text('{"n_layer": 4}')
    assert stated_layers(tmp_path) == 4
    monkeypatch.setattr(locate, "LARGEST_JSON", 10)
    assert stated_layers(tmp_path) is None


def test_layers_of_a_gguf(tmp_path: Path) -> None:
    whole = embedded_gguf()
    assert stated_layers(whole) == 30
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(whole.read_bytes()[:300])
    assert stated_layers(cut) is None


def test_what_a_subject_must_have(fixtures: Path, tmp_path: Path) -> None:
    model = fixtures / "stories260k"
    require_subject(model, layers=(0, 4), tokenizer=model)
    require_subject(model)
    with pytest.raises(SubjectError, match=r"^layers 5, 99: the subject has layers 0 to 4\. Choose from these\.$"):
        require_subject(model, layers=(0, 5, 99))
    with pytest.raises(SubjectError, match="loading the tokenizer no such: there is no such folder or file"):
        require_subject(model, tokenizer="no such")
