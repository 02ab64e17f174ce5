"""A model split into several GGUF files -> all of its parts, and one file that joins them.

llama.cpp names the parts `NAME-00001-of-00003.gguf`; the first holds the keys and values, each describes its own
tensors. Cost: the joined file is as large as all parts; it is written once, to be converted, and deleted then.
"""

from __future__ import annotations

import re
import shutil
import struct
from pathlib import Path
from typing import BinaryIO

from neurolocal.errors import SubjectError
from neurolocal.subject.gguf_header import alignment_of, read_header, read_tensors

PART = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf")


def gguf_parts(path: Path) -> list[Path]:
    """All parts of the model that a GGUF file belongs to, in order; the file itself where it is whole.

    Raises:
        SubjectError: a part is missing.
    """
    named = PART.fullmatch(path.name)
    if named is None or int(named[3]) < 2:
        return [path]
    parts = [path.with_name(f"{named[1]}-{n:05d}-of-{named[3]}.gguf") for n in range(1, int(named[3]) + 1)]
    missing = [part.name for part in parts if not part.is_file()]
    if missing:
        raise SubjectError(
            f"reading the subject {path}: {len(missing)} of the {len(parts)} files into which it is split are not "
            f"there ({', '.join(missing[:3])}). Put all parts into one folder."
        )
    return parts


def join_parts(parts: list[Path], joined: Path) -> None:
    """Write one GGUF file with the keys of the first part and the tensors of all.

    Raises:
        ValueError, struct.error, IndexError, KeyError: a part is cut short or damaged.
    """
    first = read_header(parts[0])
    alignment = alignment_of(parts[0])
    described, sources, place = list[bytes](), list[tuple[Path, int]](), 0
    for part in parts:
        header = read_header(part)
        if header.order != first.order:
            raise ValueError("parts of different byte orders")
        infos, data = read_tensors(part, header)
        described += [one.raw[:-8] + struct.pack(header.order + "Q", one.offset + place) for one in infos]
        sources.append((part, data))
        place += max(0, part.stat().st_size - data)
        place += -place % alignment
    with joined.open("wb") as to:
        with parts[0].open("rb") as file:
            to.write(file.read(8) + struct.pack(first.order + "Q", len(described)))
            file.seek(16)
            to.write(file.read(first.end - 16))
        to.writelines(described)
        _pad(to, alignment)
        for part, data in sources:
            with part.open("rb") as file:
                file.seek(data)
                shutil.copyfileobj(file, to, 1 << 24)
            _pad(to, alignment)


def _pad(to: BinaryIO, alignment: int) -> None:
    to.write(bytes(-to.tell() % alignment))
