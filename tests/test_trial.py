"""A file is read in a process of its own first: a crash there is a refusal, and costs nobody else's work."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from neurolocal import trial
from neurolocal.errors import LLMError, SubjectError
from neurolocal.subject.pretrained import load_pretrained
from neurolocal.subject.tokenizers import find_tokenizer, tokenizer_json
from neurolocal.trial import require_harmless

PROGRAM = """
import os, pathlib

def answer(question):
    package, path = question
    text = pathlib.Path(path).read_text()
    if "crash" in text:
        os.abort()
    if "refuse" in text:
        raise KeyError("no")
    if "memory" in text:
        len("a" * 99_999_999_999)
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("NEUROLOCAL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def program(tmp_path: Path) -> Path:
    (tmp_path / "program.py").write_text(PROGRAM)
    return tmp_path / "program.py"


def test_a_crash_is_a_refusal_and_the_next_file_is_read(program: Path, tmp_path: Path, monkeypatch) -> None:
    def read(text: str) -> None:
        (tmp_path / "f").write_text(text)
        os.utime(tmp_path / "f", ns=(0, hash(text) % 10**9))
        require_harmless(tmp_path / "f", program, package="tokenizers", error=LLMError)

    read("good")
    for _ in range(2):
        with pytest.raises(LLMError, match=r"tokenizers cannot read it in a process of its own: its process ended\."):
            read("crash")
    with pytest.raises(LLMError, match=r"more than .* MiB of memory"):
        read("memory")
    read("refuse")
    read("also good")
    assert len(list((tmp_path / "cache" / "tried").iterdir())) == 2
    monkeypatch.setattr(trial, "_process", lambda *_: pytest.fail("a content that was tried is tried again"))
    read("good")


def test_a_tokenizer_on_which_the_library_crashes(program: Path, fixtures: Path, tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    text = (fixtures / "stories260k" / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(text)
    assert find_tokenizer(folder).size == 512
    (folder / "tokenizer.json").write_text(text + " " * len("crash"))
    program.write_text("import os\n\ndef answer(question):\n    os.abort()\n")
    monkeypatch.setattr(tokenizer_json, "TRIAL", program)
    with pytest.raises(SubjectError, match="in a process of its own: its process ended"):
        find_tokenizer(folder)


def test_a_panic_while_weights_are_read_is_a_refusal(fixtures: Path, monkeypatch) -> None:
    class PanicError(BaseException):
        """As the Rust libraries raise it: no Exception."""

    def panic(*_: object, **__: object) -> None:
        raise PanicError("called `Option::unwrap()` on a `None` value")

    import transformers

    monkeypatch.setattr(transformers.LlamaForCausalLM, "from_pretrained", panic)
    with pytest.raises(SubjectError, match="PanicError: called `Option::unwrap"):
        load_pretrained(fixtures / "stories260k", "float32", spread=False)
    assert torch.get_default_dtype() == torch.float32


def test_a_large_file_has_more_time(program: Path, tmp_path: Path, monkeypatch) -> None:
    given = []
    monkeypatch.setattr(trial, "_process", lambda *limits: given.append(limits[2]) or pytest.fail("asked"))
    for size in (1, 40 << 30):
        with (tmp_path / "sparse").open("wb") as file:
            file.truncate(size)
        with pytest.raises(pytest.fail.Exception):
            trial.try_reading(tmp_path / "sparse", program, package="tokenizers", error=LLMError)
    assert given == [trial.SECONDS, 11 * trial.SECONDS]
