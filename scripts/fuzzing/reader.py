"""What a fuzzed reader is: seeds, how they are damaged, and the call that reads a damaged one."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Mutate = Callable[[bytes, random.Random], bytes]
"""An input and a source of chance -> a damaged input; any bytes are taken."""


@dataclass(frozen=True)
class Reader:
    """One kind of file that the program reads."""

    seeds: Callable[[], list[bytes]]
    """Whole inputs to start from."""
    mutate: Mutate
    """Damages one."""
    call: Callable[[bytes, Path], object]
    """Reads an input as the program would; the folder is empty, and everything may be written there."""
    guided: bool = True
    """Whether coverage guides the choice of inputs by default: it gains where the reading is done in Python."""
    starts: bool = False
    """Whether the reader may start processes: foreign code that it holds back in one of its own."""
    refusals: tuple[str, ...] = ()
    """Names of exceptions that refuse an input, beside NeurolocalError."""


def silent(line: str) -> None:
    """Discards a line."""


def pack(files: dict[str, bytes]) -> bytes:
    """Several files as one input."""
    return json.dumps({name: data.decode("latin-1") for name, data in files.items()}).encode()


def unpack(data: bytes) -> dict[str, bytes]:
    """The files of an input; what is no such input is one file, `noise`."""
    try:
        found = json.loads(data)
        return {str(name): str(text).encode("latin-1") for name, text in found.items()}
    except (ValueError, AttributeError, RecursionError):
        return {"noise": data}


def put(data: bytes, folder: Path) -> Path:
    """Write the files of an input into a folder. A name with `->` is a link, and its content where it leads.

    Names that lead out of the folder are not written: what a reader makes of such names is in what the files say.
    """
    for name, content in unpack(data).items():
        link = name.endswith("->")
        parts = name.removesuffix("->").split("/")
        if any(part in ("", ".", "..") or "\0" in part or len(part.encode(errors="replace")) > 200 for part in parts):
            continue
        path = folder.joinpath(*parts)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if any(one.is_symlink() for one in (path, *path.parents) if one.is_relative_to(folder) and one != folder):
                continue  # it would be written where the link leads
            if link:
                path.symlink_to(content.decode("latin-1").replace("\0", "") or "nowhere")
            else:
                path.write_bytes(content)
        except (OSError, ValueError):  # a file and a folder of one name, or a name twice
            continue
    return folder


OUT = (b"/etc/hostname", b"../../x", b"/")
"""Where links lead that nobody should follow."""


def in_files(how: dict[str, Mutate], *, otherwise: Mutate, out: tuple[bytes, ...] = OUT) -> Mutate:
    """Damage one file of an input, by the end of its name; now and then drop, double or link one.

    Args:
        how: the ways to damage files, by the ends of their names.
        otherwise: the way for all others.
        out: places outside to which links lead. The files of a model may be links, as in a hub's cache.
    """

    def mutate(data: bytes, rng: random.Random) -> bytes:
        files = unpack(data)
        name = rng.choice(sorted(files)) if files else "noise"
        chance = rng.random()
        if chance < 0.02:
            files.pop(name, None)
        elif chance < 0.04:
            files[rng.choice(sorted(files))] = files.get(name, b"")
        elif chance < 0.06:
            files.pop(name, None)
            files[f"{name}->"] = rng.choice([*out, b".", name.encode(), b"/dev/zero"])
        else:
            chosen = next((one for end, one in how.items() if name.endswith(end)), otherwise)
            files[name] = chosen(files.get(name, b""), rng)
        return pack(files)

    return mutate
