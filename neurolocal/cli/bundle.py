"""`neurolocal bundle make` and `bundle verify`."""

# pyright: reportMissingTypeArgument=false
# ParamType is generic only in the latest click.

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import click

from neurolocal.cli.options import FilePath, Names, Ordered, example, say

SAMPLE = {"corpus": "kind by kind: data/README.md of neurolocal"}
"""The licence of the demo's corpus."""

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


class Size(click.ParamType):
    """`4GB` -> 4000000000; powers of ten."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """As click wants it."""
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,3})?) ?([kmgt]?)b?", str(value).strip().lower())
        if not match:
            self.fail(f"{value!r}: give bytes, or kB, MB, GB, TB, for example 4GB", param, ctx)
        return int(float(match[1]) * UNITS[match[2]])


class Licence(click.ParamType):
    """`corpus=CC-BY-4.0` -> ("corpus", "CC-BY-4.0")."""

    name = "SECTION=TEXT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """As click wants it."""
        if isinstance(value, tuple):
            return value
        section, equals, text = str(value).partition("=")
        if not equals or not text:
            self.fail(f"{value!r}: give SECTION=TEXT, for example corpus=CC-BY-4.0", param, ctx)
        return section, text


@click.group(cls=Ordered, epilog=example("neurolocal bundle make carry --run RUN.toml"))
def bundle() -> None:
    """Across the air gap: all that a run needs in one folder, checked.

    make is the only command that uses a network; it refuses with
    NEUROLOCAL_OFFLINE=1.
    """


@bundle.command(epilog=example("neurolocal bundle make carry --run RUN.toml --volume-size 4GB"))
@click.argument("folder", metavar="DIR", type=FilePath())
@click.option("--run", "run_toml", type=FilePath(), help="A RUN.toml: what it names is carried, with its settings.")
@click.option("--demo", is_flag=True, help="Carry what `neurolocal demo` runs.")
@click.option("--subject", help="Path, or OWNER/NAME[@REVISION][:FILE] on a hub; so for the next four.")
@click.option("--tokenizer", help="Where the subject brings none.")
@click.option("--vectors", help="A vector file; glove is among the wheels.")
@click.option("--llm", help="A GGUF file.")
@click.option("--corpus", help="Text; on a hub a data set.")
@click.option("--sections", type=Names(), help="Some of: wheels, subject, tokenizer, vectors, llm, corpus.")
@click.option("--extras", default="all", show_default=True, help="Extras of neurolocal that are installed there.")
@click.option("--python", help="Version of Python there, e.g. 3.12.  [default: this one]")
@click.option("--platform", help="Platform there, e.g. manylinux_2_28_x86_64.  [default: this one]")
@click.option("--project", help="neurolocal itself: source tree, wheel or requirement.  [default: this one]")
@click.option("--constraints", type=FilePath(), help="Pinned versions.  [default: the project's]")
@click.option("--index-url", help="Package index.  [default: pip's own]")
@click.option("--endpoint", help="Hub.  [default: huggingface_hub's own]")
@click.option("--licence", "licences", type=Licence(), multiple=True, help="A section's licence, if none is stated.")
@click.option("--volume-size", type=Size(), help="Cut into volumes of this size too, e.g. 4GB, in DIR.volumes.")
@click.option("--dry-run", is_flag=True, help="Print files and sizes; fetch nothing that is carried.")
@click.option("--json", "as_json", is_flag=True, help="With --dry-run: as JSON.")
def make(
    folder: Path, sections: tuple[str, ...] | None, endpoint: str | None, licences: tuple[tuple[str, str], ...],
    volume_size: int | None, dry_run: bool, as_json: bool, **given: Any,
) -> None:  # fmt: skip
    """Gather packages, models, vectors and text, with a manifest.

    An interrupted one resumes. DIR/verify.py checks it on the other side.
    """
    from neurolocal.bundle.content import SECTIONS

    if as_json and not dry_run:
        raise click.UsageError("--json belongs to --dry-run; give both")
    for name in (*(sections or ()), *(name for name, _ in licences)):
        if name not in SECTIONS:
            raise click.UsageError(f"no section {name!r}; the sections are {', '.join(SECTIONS)}")
    from neurolocal.bundle.make import make_bundle, plan_bundle
    from neurolocal.bundle.sources import bundle_of

    wanted = bundle_of(
        _run(
            **{name: given[name] for name in ("run_toml", "demo", "subject", "tokenizer", "vectors", "llm", "corpus")}
        ),
        sections=sections or SECTIONS,
        wheels=_wheels(**{name: given[name] for name in _WHEELS}) if "wheels" in (sections or SECTIONS) else None,
        endpoint=endpoint,
        licences=(SAMPLE if given["demo"] and given["corpus"] is None else {}) | dict(licences),
    )
    if dry_run:
        return _show(plan_bundle(wanted), as_json=as_json)
    made = make_bundle(wanted, folder, say=say, volume_size=volume_size)
    return say(f"on the other side: python3 {made.name}/verify.py")


_WHEELS = ("project", "extras", "constraints", "python", "platform", "index_url")


def _run(run_toml: Path | None, demo: bool, **given: str | None) -> Any:
    """The run that was asked for; None where nothing but wheels is."""
    from dataclasses import replace

    from neurolocal.pipeline.run import Run, read_run

    if demo and run_toml is not None:
        raise click.UsageError("--demo and --run name two runs; give one")
    changed: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if "corpus" in changed:
        changed["corpus"] = Path(changed["corpus"])
    if demo:
        from neurolocal.pipeline.demo import demo_run

        return replace(demo_run(Path("store.h5"), max_rows=500), **changed)
    if run_toml is not None:
        return replace(read_run(run_toml), **changed)
    if not changed:
        return None
    if not {"subject", "corpus"} <= changed.keys():
        raise click.UsageError(
            "give --subject and --corpus, or --run, or --demo; or none of them to carry wheels alone"
        )
    return Run(store=Path("store.h5"), **changed)


def _wheels(
    project: str | None, extras: str, constraints: Path | None, python: str | None, platform: str | None,
    index_url: str | None,
) -> Any:  # fmt: skip
    """The section of packages."""
    import neurolocal
    from neurolocal.bundle.pip import Pip, Target, this_platform, this_python
    from neurolocal.bundle.wheels import Wheels, constraints_of, portable_builds, project_of

    package = Path(neurolocal.__file__).parent
    return Wheels(
        project or project_of(package),
        extras=extras,
        constraints=constraints if constraints is not None or project is not None else constraints_of(package),
        target=Target(python or this_python(), platform or this_platform()),
        pip=Pip(index_url, portable_builds()),
    )


def _show(plan: dict[str, Any], *, as_json: bool) -> None:
    """Print a plan: a line a section, or all files as JSON."""
    from neurolocal.bundle.verify import readable

    if as_json:
        facts = ("path", "size", "licence", "origin")
        listed = {name: [{f: getattr(c, f) for f in facts} for c in contents] for name, contents in plan.items()}
        return click.echo(json.dumps(listed, indent=1))
    every = [content for contents in plan.values() for content in contents]
    for name, contents in (*plan.items(), ("all", every)):
        unknown = sum(content.size is None for content in contents)
        more = f", and {unknown} of unknown size" if unknown else ""
        size = readable(sum(content.size or 0 for content in contents))
        click.echo(f"{name:10}{len(contents):6} files  {size:>8}{more}")
    return None


@bundle.command(epilog=example("neurolocal bundle verify carry --manifest-sha256 HEX"))
@click.argument("folder", metavar="DIR", type=FilePath())
@click.option("--manifest-sha256", metavar="HEX", help="SHA-256 of manifest.json, as make printed it.")
@click.option("--json", "as_json", is_flag=True, help="The manifest and the commands, as JSON.")
def verify(folder: Path, manifest_sha256: str | None, as_json: bool) -> None:
    """Join volumes, check every file, print how to install and run.

    The same as DIR/verify.py, which needs nothing but Python.
    """
    from neurolocal.bundle.verify import BundleError, commands, summary
    from neurolocal.bundle.verify import verify as check
    from neurolocal.errors import NeurolocalError, first_line

    try:
        manifest = check(folder, manifest_sha256, say)
    except BundleError as error:
        raise NeurolocalError(str(error)) from error
    except OSError as error:
        raise NeurolocalError(f"verifying {folder}: {first_line(error)}. Give the folder of a bundle.") from error
    if as_json:
        click.echo(json.dumps({"manifest": manifest, "commands": commands(folder, manifest)}, indent=1))
    else:
        click.echo("\n".join(summary(folder, manifest)))
