"""What a user names -> the sections of a bundle: a path of this machine, a name on a hub, or the project's packages.

Invariant: a path that exists is taken before a name. Cost: nothing is fetched; a hub is asked for its listing only
where a single file of it was named.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from neurolocal.bundle.content import SECTIONS, Section
from neurolocal.bundle.hub import HubSection, hub_spec
from neurolocal.bundle.local import LocalSection
from neurolocal.bundle.make import Bundle
from neurolocal.bundle.run_file import run_toml
from neurolocal.bundle.wheels import Wheels
from neurolocal.errors import NeurolocalError
from neurolocal.pipeline.run import Run

NAMED_VECTORS = ("glove", "corpus")
"""Vectors that are no file: those of a package, and those trained on the corpus."""


def bundle_of(
    run: Run | None,
    *,
    sections: Collection[str] = SECTIONS,
    wheels: Wheels | None = None,
    endpoint: str | None = None,
    licences: Mapping[str, str] | None = None,
) -> Bundle:
    """The bundle of a run.

    Args:
        run: what it names is carried, as far as `sections` has it; None carries wheels alone.
        sections: some of SECTIONS; one that the run does not name is empty. What the run names and these lack stays in
            the RUN.toml: a name as it is, a path as one beside the bundle.
        wheels: the section of that name.
        endpoint: the address of a hub; None is huggingface_hub's own choice.
        licences: section -> its licence, where the user knows better than the origin.

    Raises:
        NeurolocalError: nothing to carry, or neither a path nor a name.
    """
    licences = licences or {}
    found: list[Section] = [wheels] if wheels is not None and "wheels" in sections else []
    named = {name: value for name, value in _named(run).items() if name in sections} if run else {}
    entries, seen = dict[str, str](), dict[Path, str]()
    for name, value in named.items():
        path = _local(name, value)
        if path is not None and path.resolve() in seen:
            entries[name] = seen[path.resolve()]
            continue
        section = _section(name, value, path, endpoint=endpoint, licence=licences.get(name))
        if path is not None:
            seen[path.resolve()] = section.entry
        entries[name] = section.entry
        found.append(section)
    if not found:
        raise NeurolocalError(
            f"making a bundle: nothing to carry (sections {', '.join(sections)}). Name a subject and a corpus, "
            "or a run."
        )
    if run is None or not {"subject", "corpus"} <= entries.keys():
        return Bundle(found)
    left = {name: value for name, value in _named(run).items() if name not in entries}
    for name, value in left.items():
        path = _local(name, value)
        if path is not None and path.resolve() in seen:  # carried for another purpose
            entries[name] = seen[path.resolve()]
    elsewhere = {name: _beside(name, value) for name, value in left.items() if name not in entries}
    notes = [
        f"{name}: not carried; the run looks for {value}, seen from the bundle" for name, value in elsewhere.items()
    ]
    return Bundle(found, run_toml(run, entries | elsewhere), notes)


def _named(run: Run) -> dict[str, str]:
    """Section -> what the run names for it."""
    found = {"subject": run.subject, "tokenizer": run.tokenizer, "llm": run.llm, "corpus": str(run.corpus)}
    if run.vectors not in NAMED_VECTORS:
        found["vectors"] = run.vectors
    return {name: value for name in SECTIONS if (value := found.get(name)) is not None}


def _beside(name: str, value: str) -> str:
    """What the RUN.toml names for a section that is not carried; a path of this machine has no meaning on the other."""
    path = _local(name, value)
    return value if path is None else f"../{name}/{path.name}"


def _local(name: str, value: str) -> Path | None:
    """The path of this machine that was named, if it is one."""
    path = Path(value).expanduser()
    if path.exists():
        return path
    from neurolocal.subject.locate import EMBEDDED, embedded_gguf

    return embedded_gguf() if name == "subject" and value == EMBEDDED else None


def _section(
    name: str, value: str, path: Path | None, *, endpoint: str | None, licence: str | None
) -> LocalSection | HubSection:
    if path is not None:
        return LocalSection(name, path, licence=licence)
    spec = hub_spec(value)
    if spec is None:
        raise NeurolocalError(
            f"bundling {name} {value}: there is no such path, and it is no name on a hub "
            "(OWNER/NAME[@REVISION][:FILE]). Check the path."
        )
    return HubSection(name, spec, endpoint=endpoint, licence=licence)
