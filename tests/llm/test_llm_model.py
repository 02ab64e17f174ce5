from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from neurolocal.errors import LLMError
from neurolocal.llm import LLM, load_llm
from neurolocal.llm.model import BRANCHES, MAGIC

HEAD = "Once upon a time, there was a little girl.\n"


def slow_log_probabilities(path: Path, sequences: list[tuple[list[int], list[int]]]) -> list[np.ndarray]:
    """The obvious way: the whole of every prefix and continuation, each from nothing, by llama_cpp's own class."""
    import llama_cpp

    model = llama_cpp.Llama(str(path), n_ctx=512, logits_all=True, verbose=False)
    out = []
    for prefix, rest in sequences:
        model.reset()
        model.eval(prefix + rest)
        logits = np.array(model.scores[: len(prefix + rest)], dtype=np.float64)
        logprobs = logits - np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1, keepdims=True))
        logprobs -= logits.max(1, keepdims=True)
        out.append(np.array([logprobs[len(prefix) + i - 1, t] for i, t in enumerate(rest)]))
    model.close()
    return out


def assert_equal_to_rounding(fast: list[np.ndarray], slow: list[np.ndarray]) -> None:
    """The cache is float16, so a rare token may differ by some hundredths; a mistake by whole nats."""
    assert [len(f) for f in fast] == [len(s) for s in slow]
    difference = np.abs(np.concatenate(fast) - np.concatenate(slow))
    assert len(difference) > 0
    assert difference.max() < 0.15
    assert difference.mean() < 0.01


def random_text(draw: np.random.Generator, n: int) -> str:
    words = ["the", "a", "big", "red", "dog", "ran", "to", "her mom", "and", "said:", "Lily,", "sunny!", "—", "é"]
    return " ".join(draw.choice(words, size=n))


@pytest.mark.parametrize("with_head", [True, False])
def test_log_probabilities_equal_the_slow_twins(
    stories: LLM, stories_gguf: Path, fresh_seed: int, with_head: bool
) -> None:
    draw = np.random.default_rng(fresh_seed)
    body = random_text(draw, 12)
    rest = [" " + random_text(draw, int(n)) for n in draw.integers(1, 6, size=BRANCHES + 9)]
    stories.prepare([HEAD, "Another head.\n"] if with_head else [])
    head = 0 if with_head else None
    fast = stories.log_probabilities(body, rest, head=head)
    prefix = stories.tokenize((HEAD if with_head else "") + body)
    whole = [stories.tokenize((HEAD if with_head else "") + body + r) for r in rest]
    assert all(w[: len(prefix)] == prefix for w in whole)
    slow = slow_log_probabilities(stories_gguf, [(prefix, w[len(prefix) :]) for w in whole])
    assert_equal_to_rounding(fast, slow)


def test_probabilities_of_all_next_tokens_sum_to_one(stories: LLM) -> None:
    stories.prepare([])
    letters = [chr(c) for c in range(32, 127)]
    first = {stories.tokenize(c, after="She")[0]: p[0] for c in letters for p in stories.log_probabilities("She", [c])}
    assert 0.2 < sum(np.exp(p) for p in first.values()) <= 1.0 + 1e-9


def test_an_empty_continuation_has_no_tokens_and_an_empty_prompt_is_an_error(stories: LLM) -> None:
    stories.prepare([])
    empty, ran = stories.log_probabilities("She", ["", " ran"])
    assert len(empty) == 0 < len(ran)
    with pytest.raises(LLMError, match="prompt is empty"):
        stories.complete([], max_tokens=3)


def test_greedy_completion_is_the_published_text(stories: LLM) -> None:
    stories.prepare([])
    (said,) = stories.complete("Once upon a time,", max_tokens=40)
    assert said.text.startswith(" there was a little girl named Lily. She loved to play outside")
    assert not said.stopped


def test_the_same_seed_gives_the_same_text_and_another_seed_another(stories: LLM) -> None:
    def said(seed: int) -> list[str]:
        return [g.text for g in stories.complete("One day", max_tokens=30, samples=4, temperature=1.0, seed=seed)]

    stories.prepare([])
    assert said(3) == said(3)
    assert said(3)[0] == said(4)[0]  # greedy
    assert said(3)[1:] != said(4)[1:]
    assert len(set(said(3))) > 1


def test_what_was_asked_before_changes_no_bit(stories: LLM, fresh_seed: int) -> None:
    draw = np.random.default_rng(fresh_seed)
    stories.prepare([HEAD, "Words: "])
    first = stories.log_probabilities("A dog", [" ran away", " sat"], head=0)
    for _ in range(5):
        stories.complete(random_text(draw, 9), head=int(draw.integers(2)), max_tokens=7, samples=3, temperature=0.9)
        stories.log_probabilities(random_text(draw, 30), [" " + random_text(draw, 20)] * 7, head=1)
    again = stories.log_probabilities("A dog", [" ran away", " sat"], head=0)
    stories.prepare([HEAD, "Words: "])
    fresh = stories.log_probabilities("A dog", [" ran away", " sat"], head=0)
    for a, b, c in zip(first, again, fresh, strict=True):
        assert a.tobytes() == b.tobytes() == c.tobytes()


def test_stop_text_ends_an_answer_and_is_left_out(stories: LLM) -> None:
    stories.prepare([])
    (said,) = stories.complete("Once upon a time,", max_tokens=40, stop=".")
    assert said.stopped
    assert said.text == " there was a little girl named Lily"


def test_a_prompt_longer_than_the_context_is_one_line(stories: LLM) -> None:
    stories.prepare([])
    with pytest.raises(LLMError, match=r"do not fit into the 1536 free of a context of 1536\. Raise n_ctx") as caught:
        stories.complete("girl " * 2000, max_tokens=5)
    assert "\n" not in str(caught.value)
    assert stories.complete("Once upon a time,", max_tokens=3)[0].text == " there was a"  # and the next one works


def test_a_prompt_of_several_batches_is_as_good_as_one(
    stories: LLM, stories_gguf: Path, fresh_seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neurolocal.llm.model.BATCH", 16)
    stories.prepare([])
    body = random_text(np.random.default_rng(fresh_seed), 60)
    rest = [" ran to her mom", " and said: she is happy and she is sad and she has a big dog and a red ball.", " is"]
    prefix = stories.tokenize(body)
    assert len(prefix) > 3 * 16
    slow = slow_log_probabilities(stories_gguf, [(prefix, stories.tokenize(body + r)[len(prefix) :]) for r in rest])
    assert_equal_to_rounding(stories.log_probabilities(body, rest), slow)


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
    assert "no such file" in one_line(tmp_path)
    for name, content, expected in [
        ("empty.gguf", b"", "it is no GGUF"),
        ("text.gguf", b"#!/bin/sh\n", "it is no GGUF"),
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
    llm.complete("Once", max_tokens=2)
assert "OMP_WAIT_POLICY" not in os.environ
try:
    s.load_llm({str(tmp_path / "half.gguf")!r})
except Exception as error:
    print(type(error).__name__)
"""
    plain = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=plain)
    assert (done.returncode, done.stdout, done.stderr) == (0, "LLMError\n", "")
