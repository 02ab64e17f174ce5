"""The folder beside the store in which shards are kept until they are merged: `STORE.shards/`.

    run.json              what the run is made from, and the size and number of its sections
    plan.jsonl            the shards found so far, a line each
    00003-00003.2.h5      the second try at shard 3: a checkpoint, or finished
    00003-00003.json      shard 3 is finished: its file, size and SHA-256
    00000-00007.1.h5      shards 0 to 7, merged
    00004.5f3a9c21.text   text that is tokenised, and belongs to no finished shard yet

Where workers have no common disk, the .h5 files are in a folder at an address instead, which run.json names, and texts
on the disk of the worker that made them.
Invariant: a try has a file of its own, so a worker that is believed dead and is not writes where nobody reads. A part
counts as finished if its file has the recorded size and SHA-256. Only the driver writes what is not .h5.
Cost: a finished shard is read once when a run resumes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import secrets
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurolocal.config import differences
from neurolocal.errors import NeurolocalError, StoreError
from neurolocal.files import write_text
from neurolocal.scale.shards import Shard, as_json, begins, from_json, joins
from neurolocal.storage import Address
from neurolocal.storage.uploads import delete, is_at

if TYPE_CHECKING:
    from neurolocal.corpus import KeptText

PART = re.compile(r"(\d{5,9})-(\d{5,9})\.(\d{1,9})\.h5")
OWN = re.compile(r"run-[0-9a-f]{16}")


@dataclass(frozen=True)
class Part:
    """A finished file: one shard, or several merged."""

    first: int
    """Number of its first shard."""
    last: int
    """Number of its last shard."""
    file: str
    """Name of the file in the folder."""
    bytes: int
    """Size of the file."""
    sha256: str
    """Of the file's bytes."""
    tokens: int
    """Positions counted."""


def whole_sha256(path: Path) -> str:
    """SHA-256 of the bytes that a file has now; no cache is asked, since a damaged file may look unchanged."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class ShardFolder:
    """The folder, by one driver at a time."""

    def __init__(self, store: Path, at: Address | None = None) -> None:
        """Of a store; nothing is read or made.

        Args:
            store: the store at the end.
            at: where a folder of the run's own holds the .h5 files; None is the folder beside the store.
        """
        self.path = store.with_name(f"{store.name}.shards")
        self._at, self._own = at, f"run-{secrets.token_hex(8)}"
        self.shards: list[Shard] = []
        self.size = self.sections = 0
        self._given = Counter[str]()

    @property
    def files(self) -> Path | Address:
        """Where the .h5 files are."""
        return self.path if self._at is None else self._at / self._own

    def open(self, made_from: Mapping[str, Any], *, replace: bool) -> bool:
        """Open it, or make it; returns whether an earlier run is resumed.

        Args:
            made_from: what the run is made from, as plain values.
            replace: whether the shards of another run are deleted (True) or refused.

        Raises:
            StoreError: they are of another run, or elsewhere.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        found = self._run()
        if found is not None:
            if (there := found["at"]) != (None if self._at is None else str(self._at)):
                where = f"with --shards-at {there}" if there else "without --shards-at"
                raise StoreError(
                    f"collecting with {self.path}: its shards were made {where}. Give it again, or delete the folder."
                )
            self._own = found["own"]
            differ = differences(found["made_from"], json.loads(json.dumps(made_from)))
            if not differ:
                self.size, self.sections, self.shards = found["size"], found["sections"], self._plan()
                write_text(self.path / "plan.jsonl", "".join(map(_line, self.shards)))
                for text in self.path.glob("*.text"):
                    _unlink(text)
                return True
            if not replace:
                raise StoreError(
                    f"collecting with {self.path}: its shards were made from something else "
                    f"({'; '.join(differ[:4])}). Delete the folder, or give another --store."
                )
        self.remove()
        self.path.mkdir()
        return False

    def begin(self, made_from: Mapping[str, Any], *, size: int, sections: int) -> None:
        """Note what a new run is made from, and the mean size and the number of its sections."""
        self.size, self.sections = size, sections
        at = None if self._at is None else str(self._at)
        self._write(
            "run.json", {"made_from": made_from, "size": size, "sections": sections, "at": at, "own": self._own}
        )

    def add(self, shard: Shard) -> None:
        """Note a shard that was found."""
        with (self.path / "plan.jsonl").open("a", encoding="utf-8") as file:
            file.write(_line(shard))
        self.shards.append(shard)

    def new_text(self, section: int) -> Path | Address:
        """A place for the tokenised text of a section, which no other process has: it may live longer than its run."""
        return self.files / f"{section:05}.{secrets.token_hex(4)}.text"

    def discard_text(self, text: KeptText) -> None:
        """Delete text that is not needed any more."""
        for file in text.files:
            _unlink(file.path)

    def next_try(self, first: int, last: int) -> Path | Address:
        """The place of a try that no other worker has.

        On the common disk another one may hang before its first checkpoint; at an address one that seems dead may still
        upload.
        """
        name = _name(first, last)
        if self._at is not None:
            return self.files / f"{name}.{secrets.randbelow(10**9)}.h5"
        begun = (PART.fullmatch(path.name[1 : -len(".lock")]) for path in self.path.glob(f".{name}.*.h5.lock"))
        tries = [try_ for try_, _ in self.tries(first, last)] + [int(match[3]) for match in begun if match]
        self._given[name] = max([self._given[name], *tries]) + 1
        return self.path / f"{name}.{self._given[name]}.h5"

    def tries(self, first: int, last: int) -> list[tuple[int, Path]]:
        """The files of earlier tries at a part on the common disk, the newest first."""
        found = []
        for path in self.path.glob(f"{_name(first, last)}.*.h5"):
            if match := PART.fullmatch(path.name):
                found.append((int(match[3]), path))
        return sorted(found, reverse=True)

    def finished(self, part: Part) -> None:
        """Note a finished part, and delete what it makes superfluous: other tries, and the parts merged into it."""
        self._write(f"{_name(part.first, part.last)}.json", asdict(part))
        for other in self._recorded():
            if other != part and part.first <= other.first <= other.last <= part.last:
                self.discard(other)
        for _, path in self.tries(part.first, part.last):
            if path.name != part.file:
                _unlink(path)

    def discard(self, part: Part) -> None:
        """Forget a part and delete its files."""
        _unlink(self.path / f"{_name(part.first, part.last)}.json")
        self.delete(self.files / part.file)
        for _, path in self.tries(part.first, part.last):
            _unlink(path)

    def delete(self, place: Path | Address) -> None:
        """Delete a file that is not needed any more."""
        if isinstance(place, Address):
            delete(place)
        else:
            _unlink(place)

    def is_whole(self, part: Part) -> bool:
        """Whether the part's file is there as it was finished."""
        path = self.files / part.file
        if isinstance(path, Address):
            return is_at(path, size=part.bytes, sha256=part.sha256)
        try:
            return path.stat().st_size == part.bytes and whole_sha256(path) == part.sha256
        except OSError:
            return False

    def parts(self) -> tuple[list[Part], list[Part]]:
        """The finished parts that are whole, ascending and without overlap; and those that are damaged, deleted now."""
        good, bad, upto = list[Part](), list[Part](), -1
        for part in sorted(self._recorded(), key=lambda part: (part.first, -part.last)):
            if part.last >= len(self.shards) or not self.is_whole(part):
                bad.append(part)
                self.discard(part)
            elif part.first > upto:
                good.append(part)
                upto = part.last
        return good, bad

    def remove(self) -> None:
        """Delete the folder, and the run's own at the address."""
        shutil.rmtree(self.path, ignore_errors=True)
        if isinstance(self.files, Address):
            delete(self.files)

    def _run(self) -> dict[str, Any] | None:
        try:
            found = json.loads((self.path / "run.json").read_text(encoding="utf-8"))
            numbers = [found[name] for name in ("size", "sections")]
            known = isinstance(found["made_from"], dict) and all(type(n) is int and n > 0 for n in numbers)
            found = {"at": None, "own": self._own} | found
            known &= bool(OWN.fullmatch(found["own"])) and isinstance(found["at"], str | None)
            return found if known else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _plan(self) -> list[Shard]:
        """The shards found so far; a line that a kill cut short ends them."""
        shards: list[Shard] = []
        with contextlib.suppress(OSError):
            for line in (self.path / "plan.jsonl").read_text(encoding="utf-8").splitlines():
                try:
                    shard = from_json(json.loads(line))
                except (ValueError, NeurolocalError):
                    break
                if not (joins(shards[-1], shard) if shards else begins(shard)):
                    break
                shards.append(shard)
        return shards

    def _recorded(self) -> list[Part]:
        found: list[Part] = []
        for path in sorted(self.path.glob("*-*.json")):
            with contextlib.suppress(OSError, ValueError, TypeError):
                part = Part(**json.loads(path.read_text(encoding="utf-8")))
                match = PART.fullmatch(part.file)
                if match and path.stem == _name(part.first, part.last) == f"{match[1]}-{match[2]}":
                    found.append(part)
        return found

    def _write(self, name: str, value: Mapping[str, Any]) -> None:
        write_text(self.path / name, json.dumps(value), error=StoreError)


def _line(shard: Shard) -> str:
    return json.dumps(as_json(shard)) + "\n"


def _name(first: int, last: int) -> str:
    return f"{first:05}-{last:05}"


def _unlink(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
        path.with_name(f".{path.name}.lock").unlink(missing_ok=True)
