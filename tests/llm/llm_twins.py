"""The slow way to log-probabilities, and texts to compare both ways on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

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
