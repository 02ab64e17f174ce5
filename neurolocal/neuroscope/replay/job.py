"""A replay as a command runs it: its subject and dtype, the other checkpoints, and the store that it writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from neurolocal.errors import StoreError
from neurolocal.neuroscope.replay.conversion import convert
from neurolocal.neuroscope.replay.replay_result import ReplayResult
from neurolocal.neuroscope.replay.search import replay
from neurolocal.records import Site
from neurolocal.store import Store
from neurolocal.subject import Subject, load_subject


@dataclass(frozen=True)
class ReplayJob:
    """The store and the subject of a replay."""

    store: Store
    subject: str | None = None
    """Name or path; None is the one that the store names."""
    tokenizer: str | None = None
    dtype: str | None = None
    """None is the store's, or `float32` if its pages do not state it."""
    device: str | None = None

    @property
    def wanted(self) -> str:
        """The subject's name or path.

        Raises:
            StoreError: neither the user nor the store names it.
        """
        named = self.subject or self.store.manifest["subject"].get("path")
        if not named:
            raise StoreError(
                f"replaying {self.store.path}: its pages name {self.store.manifest['subject'].get('name')!r} but not "
                "its path. Give --subject with a model folder, a .gguf file or a name in the hub cache."
            )
        return named

    def load(self, name: str | None, dtype: str) -> Subject:
        """Load a subject; None is the requested one."""
        return load_subject(
            name or self.wanted, dtype=cast("Any", dtype), device=self.device,
            tokenizer=self.tokenizer or self.store.manifest["tokenizer"].get("path"),
        )  # fmt: skip


def run(
    job: ReplayJob, *, texts: int | None, seed: int = 0, others: Sequence[str] = (), say: Callable[[str], None] = print,
    bar: bool = True,
) -> ReplayResult:  # fmt: skip
    """Replay. For a Pythia model, the checkpoint before or after its re-release is also tried, if it can be found."""
    dtype = job.dtype or job.store.manifest["config"].get("dtype") or "float32"
    return replay(
        job.store, job.load, dtype=dtype, texts=texts, seed=seed, others=[*others, *_near(job.wanted)], say=say, bar=bar
    )


def write(job: ReplayJob, found: ReplayResult, out: Path, *, say: Callable[[str], None]) -> None:
    """Write the store in the subject's token ids.

    Raises:
        StoreError: the store was collected, `out` exists, or no example can be converted.
    """
    dtype = found.fits.way.dtype if found.fits.way.dtype != "autocast" else "float32"
    if len(job.store.sites) > 1:
        say(f"replay: of {', '.join(job.store.sites)} only the site {found.fits.way.site} is written to {out}")
    done = convert(job.store, job.load(None, dtype), out, dtype=dtype, site=cast("Site", found.fits.way.site))
    left = f", {done.left_out:,} left out behind tokens with no known id" if done.left_out else ""
    cut = f", {done.cut:,} rows cut there" if done.cut else ""
    say(f"replay: {done.examples:,} examples{left}{cut}; {out}")


def _near(name: str) -> list[str]:
    """The other release of a Pythia model.

    In 2023 retrained models took the old names; Neuroscope's pages are of the models that are `-v0` today.
    """
    if "pythia" not in name.lower():
        return []
    other = name.removesuffix("/").removesuffix("-v0") if name.rstrip("/").endswith("-v0") else f"{name.rstrip('/')}-v0"
    return [other] if Path(other).exists() or not Path(name).exists() else []
