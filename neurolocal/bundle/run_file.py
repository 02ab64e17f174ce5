"""The RUN.toml of a bundle: a run's settings, with paths that are relative to the bundle.

Invariant: `read_run` of what is written gives the run's settings again. Results go beside the bundle, which stays
as it was listed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neurolocal.errors import NeurolocalError
from neurolocal.pipeline.run import Run

RUN_FILE = "RUN.toml"
"""Its place in the bundle."""

RESULTS = "../results"
"""Folder of the results, seen from the bundle."""


def run_toml(run: Run, entries: Mapping[str, str]) -> str:
    """The text of the file.

    Args:
        run: the settings.
        entries: for each section that is carried what the run names: a file or folder of the bundle.

    Raises:
        NeurolocalError: tomli-w (extra `bundle`) is not installed.
    """
    try:
        import tomli_w
    except ImportError as error:
        raise NeurolocalError(
            "writing the RUN.toml of a bundle: tomli-w is not installed. Run: pip install 'neurolocal[bundle]'"
        ) from error
    corpus = run.corpus.as_posix() if isinstance(run.corpus, Path) else str(run.corpus)
    table: dict[str, Any] = {"subject": run.subject, "corpus": corpus, **entries}
    table["store"] = f"{RESULTS}/{run.store.name}"
    for name in ("layers", "sides", "device"):
        if (value := getattr(run, name)) is not None:
            table[name] = value
    if run.vectors in ("glove", "corpus"):
        table["vectors"] = run.vectors
    tables = {name: _settings(config) for name, config in run.configs.items()}
    return tomli_w.dumps({"run": table} | {name: settings for name, settings in tables.items() if settings})


def _settings(config: Any) -> dict[str, Any]:
    """The settings that are not the defaults."""
    default = type(config)()
    found = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    return {name: value for name, value in found.items() if value != getattr(default, name)}
