"""Addresses of other storage, `PROTOCOL://PATH`, told apart from paths of this machine.

Invariant: an address holds no credentials, so it may be shown, logged and stored. Credentials come from the environment
or from the user's own configuration of the storage's library alone.
Cost: nothing is connected; the first address of a protocol imports the package of that protocol.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from neurolocal.errors import NeurolocalError, StorageError, first_line
from neurolocal.machine import offline

LOCAL = frozenset(("file", "local"))
"""Protocols of paths of this machine."""

IN_PROCESS = frozenset(("memory",))
"""Protocols that open no connection."""

EXTRAS = {"s3": "'neurolocal[s3]'", "s3a": "'neurolocal[s3]'"}
"""What to install for a protocol, where neurolocal has an extra for it."""

USERS = frozenset(("abfs", "abfss", "sftp", "ssh", "smb"))
"""Protocols in whose addresses a name before `@` is a container or a user, and no key."""

SECRET = re.compile(r"secret|token|passw|credential|key|sas", re.IGNORECASE)
"""Names of settings whose values are never shown."""

LEAST = 8
"""Characters of a value that is taken for a secret; shorter ones are words that occur in any message."""


@dataclass(frozen=True)
class Address:
    """A place on other storage."""

    protocol: str
    """fsspec's name of the kind of storage."""
    path: str
    """What follows `://`."""

    def __str__(self) -> str:
        return f"{self.protocol}://{self.path}"

    @property
    def name(self) -> str:
        """The last part of the path."""
        return PurePosixPath(self.path).name

    def __truediv__(self, name: str) -> Address:
        return Address(self.protocol, f"{self.path.rstrip('/')}/{name}")


def is_address(text: str) -> bool:
    """Whether a text is an address and no path of this machine."""
    return "://" in text


def located(text: str, *, doing: str, error: type[NeurolocalError] = StorageError) -> Path | Address:
    """The path or the address that a text states; nothing is looked up there.

    Args:
        text: `pile/`, `s3://bucket/pile/*.jsonl.zst`.
        doing: how the message begins.
        error: the type of the error.

    Raises:
        NeurolocalError: an address with credentials in it, of several protocols, or of a protocol that is unknown or
            whose package is not installed; or any that needs a network, where NEUROLOCAL_OFFLINE is set.
    """
    if not is_address(text):
        return Path(text)
    protocol, _, rest = text.partition("://")
    if "::" in text or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", protocol):
        raise error(f"{doing} {scrubbed(text)}: an address of several protocols. Give one: PROTOCOL://PATH.")
    protocol = protocol.lower()
    if protocol in LOCAL:
        return Path(rest)
    _refuse_credentials(protocol, rest, doing=f"{doing} {scrubbed(text)}", error=error)
    if offline() and protocol not in IN_PROCESS:
        raise error(
            f"{doing} {text}: NEUROLOCAL_OFFLINE is set, so no network may be used, not even one of this machine. "
            "Copy the files to this machine and give their path, or unset NEUROLOCAL_OFFLINE."
        )
    if not rest.strip("/"):
        raise error(f"{doing} {text}: the address names nothing. Give a bucket and a path: {protocol}://BUCKET/PATH.")
    _require_package(protocol, doing=f"{doing} {text}", error=error)
    return Address(protocol, rest)


def refuse_address(text: str, *, doing: str, error: type[NeurolocalError] = StorageError) -> None:
    """Refuse an address where a path of this machine is needed.

    Raises:
        NeurolocalError: it is an address.
    """
    if is_address(text) and text.partition("://")[0].lower() not in LOCAL:
        raise error(
            f"{doing} {scrubbed(text)}: an address, where a path of this machine is needed: a store is written and "
            "read in place. Give a path on a disk or on NFS, and copy the file when it is complete."
        )


def _refuse_credentials(protocol: str, rest: str, *, doing: str, error: type[NeurolocalError]) -> None:
    user, at, _ = rest.partition("/")[0].rpartition("@")
    held = "a user name or a key" if at and (":" in user or protocol not in USERS) else ""
    if re.search(r"\?[^/]*=", rest) or (protocol in ("http", "https") and "?" in rest):
        held = held or "a query, which may be a key"
    if held:
        raise error(
            f"{doing}: the address holds {held}, which would be stored and shown. Give it without; credentials come "
            "from the environment (AWS_ACCESS_KEY_ID, ...) or from the configuration of the storage's library "
            "(~/.aws, ~/.config/fsspec)."
        )


def _require_package(protocol: str, *, doing: str, error: type[NeurolocalError]) -> None:
    from fsspec import get_filesystem_class
    from fsspec.registry import known_implementations

    try:
        get_filesystem_class(protocol)
    except ImportError as problem:
        told = str(known_implementations.get(protocol, {}).get("err", ""))
        what = EXTRAS.get(protocol) or f"the package of {protocol} for fsspec"
        todo = f"pip install {what}" if protocol in EXTRAS else told or f"Install {what}"
        raise error(f"{doing}: its package is not installed ({first_line(problem)}). {todo}.") from problem
    except ValueError as problem:
        raise error(f"{doing}: fsspec knows no protocol {protocol}. Check the address.") from problem


def scrubbed(text: str) -> str:
    """A text without credentials: user names and queries in addresses, and the values of settings that are secret."""
    text = re.sub(r"://[^/\s@]*@", "://***@", text)
    text = re.sub(r"(://[^\s?]*)\?[^\s'\"]*=[^\s'\"]*", r"\1?***", text)
    for secret in sorted(_secrets(), key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def _secrets() -> set[str]:
    from fsspec.config import conf

    found = {value for name, value in os.environ.items() if SECRET.search(name)}
    return {value for value in found | set(_secret_values(conf)) if len(value) >= LEAST}


def _secret_values(settings: Mapping[Any, Any]) -> Iterator[str]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _secret_values(value)
        elif isinstance(value, str) and SECRET.search(str(name)):
            yield value
