"""Pages, a list of maxima or GLUScope's examples -> a store; the kind of a file is recognised by its name.

Invariant: one import reads one kind; only an earlier import is replaced. Cost: see the import of each kind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from neurolocal.errors import StoreError
from neurolocal.neuroscope.imports.from_gluscope import import_gluscope
from neurolocal.neuroscope.imports.from_maxima import import_maxima
from neurolocal.neuroscope.imports.from_pages import import_pages
from neurolocal.neuroscope.imports.result import ImportResult
from neurolocal.neuroscope.read.gluscope import NAME
from neurolocal.records import Site
from neurolocal.store import Store


def import_any(
    paths: Sequence[Path], out: Path, *, model: str | None = None, site: Site | None = None,
    say: Callable[[str], None] = print, bar: bool = True,
) -> ImportResult:  # fmt: skip
    """Import the files that some paths name, and print what was read.

    Args:
        paths: page files or folders of them; one JSON list of maxima; or GLUScope's example files or folders of them.
        out: the store to write; an earlier import there is replaced.
        model, site: see `import_pages`.
        say: receives lines about what was read and what was left out.
        bar: whether to show a progress bar.

    Raises:
        StoreError: nothing there can be read, or files of several kinds.
    """
    _require_replaceable(out)
    examples = _gluscope_files(paths)
    lists = [path for path in paths if path.suffix.lower() == ".json" and path not in examples]
    if examples and not all(_gluscope_files([path]) for path in paths):
        other = next(path for path in paths if not _gluscope_files([path]))
        raise StoreError(f"importing {other}: it holds no GLUScope example, other paths do. Import each by itself.")
    if examples and not lists:
        if site is not None:
            raise StoreError(f"importing {examples[0]}: GLUScope's examples state their sites. Omit --site.")
        result = import_gluscope(examples, out, model=model, say=say)
        found = f"{result.texts:,} texts of {len(examples):,} GLUScope examples in {result.rows:,} rows"
        say(f"import: {found}; {out}")
        return result
    if lists:
        if len(paths) > 1:
            raise StoreError(f"importing {lists[0]}: a list of maxima is imported by itself. Give only this file.")
        return import_maxima(lists[0], out, model=model, site=site, say=say)
    result = import_pages(paths, out, model=model, site=site, say=say, bar=bar)
    result.say_problems(say)
    doubled = f", {result.doubled:,} files equal to earlier ones" if result.doubled else ""
    say(
        f"import: {result.texts:,} texts in {result.rows:,} rows from {result.pages:,} pages"
        f"{doubled}, {len(result.problems):,} problems; {out}"
    )
    return result


def _require_replaceable(out: Path) -> None:
    """Refuse to replace anything except an earlier import, which can be made again.

    Raises:
        StoreError: something else is at this path.
    """
    if not out.exists():
        return
    try:
        with Store(out) as there:
            replaceable = there.imported
    except StoreError:
        replaceable = False
    if not replaceable:
        raise StoreError(
            f"importing into {out}: the file exists and is no import. Give --out another name, or delete it."
        )


def _gluscope_files(paths: Sequence[Path]) -> list[Path]:
    """The example files that paths name."""
    inside = [sorted(path.glob("*.json")) if path.is_dir() else [path] for path in paths]
    return [file for files in inside for file in files if NAME.fullmatch(file.name)]
