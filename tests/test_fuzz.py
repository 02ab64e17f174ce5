"""Every reader on damaged inputs of a fixed seed, and that `scripts/fuzz.py` sees every kind of fault."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from fuzzing.hdf5 import mutate as mutate_hdf5
from fuzzing.mutate import as_json, as_lines, as_toml, flat
from fuzzing.reader import pack, put, unpack
from fuzzing.readers import READERS

ROOT = Path(__file__).parents[1]


def fuzz(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "fuzz.py"), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=1800, check=False)


def test_no_reader_has_a_fault(tmp_path: Path) -> None:
    """In one process, since importing torch takes longer than the inputs; time ends slow readers at their first few."""
    done = fuzz("--together", "--inputs", 200, "--minutes", 0.008, "--seconds", 100, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    (n,) = re.findall(r"^together +([\d,]+)", done.stdout, re.MULTILINE)
    assert int(n.replace(",", "")) > 5 * len(READERS)
    assert not list(tmp_path.iterdir())


FAULTY = """
from fuzzing.reader import Reader
from fuzzing.mutate import flat

def call(data, folder):
    import os, pickle, socket, subprocess, time
    from pathlib import Path
    from neurolocal.errors import NeurolocalError
    {does}

def seeds():
    return [b"good"]

def mutate(data, rng):
    return b"bad"

def read(data, folder):
    if data == b"bad":
        call(data, folder)

READERS = {{"faulty": Reader(seeds, mutate, read, guided=False)}}
"""


@pytest.mark.parametrize(
    ("does", "says"),
    [
        ("raise KeyError('x')", "raised KeyError"),
        ("os.abort()", "ended with -6"),
        ("bytearray(8 << 30)", "raised MemoryError"),
        ("time.sleep(60)", "over 2 s"),
        ("Path('/etc/hostname').read_bytes()", "reads '/etc/hostname'"),
        ("(folder / 'x').symlink_to('/etc/hostname'); (folder / 'x').read_bytes()", "reads"),
        ("(folder.parent.parent / 'x').write_bytes(b'')", "writes"),
        ("subprocess.run(['true'])", "subprocess.Popen"),
        ("socket.socket().connect_ex(('127.0.0.1', 9))", "socket.connect"),
        ("pickle.loads(pickle.dumps(Path))", "unpickles pathlib.Path"),
        ("eval('1 + 1')", "compiles"),
        ("raise NeurolocalError('')", "without a message"),
        ("raise NeurolocalError('it is damaged. Copy it again.')", None),
        ("(folder / 'x').write_bytes(data)", None),
    ],
)
def test_a_fault_is_seen_and_its_input_is_kept(does: str, says: str | None, tmp_path: Path) -> None:
    copy = tmp_path / "scripts"
    (copy / "fuzzing").mkdir(parents=True)
    for path in [
        ROOT / "scripts" / "fuzz.py",
        ROOT / "scripts" / "hostile.py",
        *(ROOT / "scripts" / "fuzzing").glob("*.py"),
    ]:
        (copy / path.relative_to(ROOT / "scripts")).write_bytes(path.read_bytes())
    (copy / "fuzzing" / "readers.py").write_text(FAULTY.format(does=does))
    (tmp_path / "neurolocal").symlink_to(ROOT / "neurolocal")
    seconds = "2" if says == "over 2 s" else "100"
    command = [sys.executable, str(copy / "fuzz.py"), "--inputs", "3", "--seconds", seconds]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=900, check=False)
    if says is None:
        assert done.returncode == 0, done.stdout
        return
    assert done.returncode == 1
    assert says in done.stdout
    (again,) = set(re.findall(r"python scripts/fuzz.py faulty --rerun (\S+)", done.stdout)) or [""]
    assert (tmp_path / again).read_bytes() == b"bad"


@pytest.mark.parametrize("mutate", [flat, as_json, as_lines, as_toml, mutate_hdf5])
def test_mutations_take_anything_and_are_the_same_again(mutate) -> None:
    for i, data in enumerate([b"", b"[", b'{"a": [1, "x"]}', b"a = 1\n", bytes(300), b"\x89HDF\r\n\x1a\n"] * 20):
        made = mutate(data, random.Random(i))
        assert made == mutate(data, random.Random(i))


def test_files_of_an_input(tmp_path: Path) -> None:
    files = {"a/b.txt": bytes(range(256)), "c": b"", "l->": b"c", "../out": b"x", "/x": b"x", "a": b"x"}
    assert unpack(pack(files)) == files
    put(pack(files), tmp_path / "in")
    found = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*"))
    assert found == ["in", "in/a", "in/a/b.txt", "in/c", "in/l"]
    assert (tmp_path / "in" / "a" / "b.txt").read_bytes() == bytes(range(256))
