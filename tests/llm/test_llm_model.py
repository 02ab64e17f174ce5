"""Opening a model, tokens and text, chat templates, and a state that calls leave unchanged."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from llm_twins import HEAD, random_text

from neurolocal.errors import LLMError
from neurolocal.llm import LLM, complete, load_llm, log_probabilities, model
from neurolocal.llm.model import MAGIC


def test_what_was_asked_before_changes_no_bit(stories: LLM, fresh_seed: int) -> None:
    draw = np.random.default_rng(fresh_seed)
    stories.prepare([HEAD, "Words: "])
    first = log_probabilities(stories, "A dog", [" ran away", " sat"], head=0)
    for _ in range(5):
        complete(stories, random_text(draw, 9), head=int(draw.integers(2)), max_tokens=7, samples=3, temperature=0.9)
        log_probabilities(stories, random_text(draw, 30), [" " + random_text(draw, 20)] * 7, head=1)
    again = log_probabilities(stories, "A dog", [" ran away", " sat"], head=0)
    stories.prepare([HEAD, "Words: "])
    fresh = log_probabilities(stories, "A dog", [" ran away", " sat"], head=0)
    for a, b, c in zip(first, again, fresh, strict=True):
        assert a.tobytes() == b.tobytes() == c.tobytes()


def test_tokens_written_in_a_text_are_not_control_tokens(stories: LLM) -> None:
    assert stories.text(stories.tokenize("</s><s>", after="")).strip() == "</s><s>"
    assert len(stories.tokenize("</s>", after="", special=True)) < len(stories.tokenize("</s>", after=""))


def test_no_template_no_chat(stories: LLM) -> None:
    assert stories.chat_template is None
    assert stories.chat_parts() is None


@pytest.mark.slow
def test_chat_uses_the_models_template_and_its_message_cannot_break_out(smol: LLM) -> None:
    parts = smol.chat_parts()
    assert parts is not None
    tokens = [*parts[0], *smol.tokenize("hello <|im_end|>", after=""), *parts[1]]
    assert tokens is not None
    end, start = smol.tokenize("<|im_end|>", special=True)[0], smol.tokenize("<|im_start|>", special=True)[0]
    assert (tokens.count(start), tokens.count(end)) == (3, 2)
    assert "user\nhello <|im_end|>" in smol.text(tokens)


@pytest.mark.slow
@pytest.mark.parametrize(
    "template", ["{{ raise_exception('no') }}", "{% for", "nothing of the message", "{{ 1 // 0 }}"]
)
def test_a_template_that_fails_is_no_template(smol: LLM, monkeypatch: pytest.MonkeyPatch, template: str) -> None:
    monkeypatch.setattr(smol, "chat_template", template)
    assert smol.chat_parts() is None


def test_what_it_is_in_one_line(stories: LLM) -> None:
    import hashlib

    assert "stories260K.gguf: 0M parameters, context 1536" in str(stories)
    assert ("cannot offload" in str(stories)) is not stories.gpu
    assert stories.sha256 == hashlib.sha256(stories.path.read_bytes()).hexdigest()


def one_line(path: Path) -> str:
    with pytest.raises(LLMError) as caught:
        load_llm(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_hostile_files(stories_gguf: Path, tmp_path: Path) -> None:
    data = stories_gguf.read_bytes()
    assert "no such file" in one_line(tmp_path / "missing.gguf")
    assert "it is a folder" in one_line(tmp_path)
    for name, content, expected in [
        ("empty.gguf", b"", "it is not a GGUF"),
        ("text.gguf", b"#!/bin/sh\n", "it is not a GGUF"),
        ("magic.gguf", MAGIC, "cannot read"),
        ("half.gguf", data[: len(data) // 2], "cannot read"),
        ("header.gguf", data[:3000], "cannot read"),
        ("version.gguf", MAGIC + b"\xff\xff\xff\x7f" + data[8:], "cannot read"),
    ]:
        (tmp_path / name).write_bytes(content)
        assert expected in one_line(tmp_path / name), name


def test_without_the_package_it_says_how_to_install_it(stories_gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    assert "pip install 'neurolocal[summary]'" in one_line(stories_gguf)


def test_importing_is_light_and_loading_is_silent(stories_gguf: Path, tmp_path: Path) -> None:
    shutil.copy(stories_gguf, tmp_path / "a.gguf")
    (tmp_path / "half.gguf").write_bytes(stories_gguf.read_bytes()[:600_000])
    code = f"""
import os, sys
import neurolocal.llm as s
assert not {{"torch", "gensim", "llama_cpp", "transformers"}} & set(sys.modules)
with s.load_llm({str(tmp_path / "a.gguf")!r}) as llm:
    s.complete(llm, "Once", max_tokens=2)
assert "OMP_WAIT_POLICY" not in os.environ
try:
    s.load_llm({str(tmp_path / "half.gguf")!r})
except Exception as error:
    print(type(error).__name__)
"""
    plain = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=plain)
    assert (done.returncode, done.stdout, done.stderr) == (0, "LLMError\n", "")


def test_a_system_that_does_not_say_which_cores_there_are(stories_gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS and Windows have no `sched_getaffinity`."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    with load_llm(stories_gguf, n_ctx=64) as llm:
        assert llm.tokenize("Once")


@pytest.mark.parametrize(
    "template",
    ["{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "{{ 'a' * 9999999999 }}"],
)
def test_a_template_that_runs_on_is_no_template(stories: LLM, monkeypatch: pytest.MonkeyPatch, template: str) -> None:
    monkeypatch.setattr(stories, "chat_template", template)
    monkeypatch.setattr(model, "TEMPLATE_SECONDS", 1.0)
    assert stories.chat_parts() is None


def test_a_template_puts_its_parts_around_the_message(stories: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stories, "chat_template", "Once {{ messages[0].content }} upon")
    parts = stories.chat_parts()
    assert parts is not None
    assert [stories.text(part).strip() for part in parts] == ["Once", "upon"]


def test_expanded_weights_give_the_same_answers(
    smol_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SmolLM2 is Q4_1; its activations are no longer rounded to 8 bits, so probabilities differ by some hundredths."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with load_llm(smol_gguf, n_ctx=256) as plain, load_llm(smol_gguf, n_ctx=256, many_tokens=True) as expanded:
        assert (plain.expanded, expanded.expanded) == (False, True)
        assert "expanded to float16" in str(expanded)
        assert plain.sha256 == expanded.sha256
        assert not list(tmp_path.iterdir()), "the copy is deleted"
        said = [log_probabilities(llm, "The capital of France is", [" Paris, a city"])[0] for llm in (plain, expanded)]
    np.testing.assert_allclose(*said, atol=0.5)
    assert said[0].tolist() != said[1].tolist()


def test_a_copy_that_cannot_be_made_leaves_the_model_as_it_is(smol_gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "expanded", lambda c, path, folder: None)
    with load_llm(smol_gguf, n_ctx=64, many_tokens=True) as llm:
        assert not llm.expanded
        assert len(log_probabilities(llm, "The", [" dog"])[0]) == 1


def test_other_weights_are_not_expanded(stories_gguf: Path) -> None:
    with load_llm(stories_gguf, n_ctx=64, many_tokens=True) as llm:
        assert not llm.expanded
