"""Processes that the package starts end with the one that started them, even if that is killed."""

from __future__ import annotations

import ast
import contextlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from neurolocal.machine import computes_in, left_of_group

PACKAGE = Path(__file__).parents[1] / "neurolocal"

KILLED = """
import os, signal
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from neurolocal.machine import end_with_parent

if __name__ == "__main__":
    pool = ProcessPoolExecutor(1, get_context("spawn"), initializer=end_with_parent)
    print(pool.submit(os.getpid).result(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_process_of_a_pool_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    (tmp_path / "killed.py").write_text(KILLED)
    done = subprocess.Popen([sys.executable, tmp_path / "killed.py"], stdout=subprocess.PIPE, text=True)
    with done:
        assert done.stdout is not None
        pid = int(done.stdout.readline())
    assert done.returncode == -signal.SIGKILL
    until = time.monotonic() + 120
    with contextlib.suppress(psutil.NoSuchProcess):  # it may go between two looks
        while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < until, "it waits for work for ever"
            time.sleep(0.05)


def test_every_pool_of_processes_ends_with_its_parent() -> None:
    """Each is given `end_with_parent`, or a function that calls it."""
    found, without = 0, []
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "ProcessPoolExecutor":
                found += 1
                named = {keyword.arg for keyword in node.keywords}
                if "initializer" not in named or "end_with_parent" not in text:
                    without.append(f"{path.name}:{node.lineno}")
    assert found >= 4
    assert without == []


def test_a_control_group_leaves_what_it_and_those_above_it_allow(tmp_path):
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    for folder, most in ((inner, "1000"), (tmp_path / "a", "max"), (tmp_path, "5000")):
        (folder / "memory.max").write_text(f"{most}\n")
        (folder / "memory.current").write_text("800\n")
        (folder / "memory.stat").write_text("anon 700\ninactive_file 50\n")
    assert left_of_group(tmp_path, "/a/b") == [250, 4250]
    assert left_of_group(tmp_path, "/") == [4250]
    assert left_of_group(tmp_path / "none", "/a") == []


@pytest.mark.skipif(sys.platform != "linux", reason="limits are read from /proc")
def test_a_limit_of_the_process_counts():
    code = (
        "import resource; from neurolocal.machine import free_bytes; one = free_bytes(); "
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 30,) * 2); print(one, free_bytes())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    _, limited = map(int, done.stdout.split())
    assert 0 < limited < 1 << 30


def test_a_processor_computes_in_what_its_flags_name(monkeypatch):
    assert computes_in("float32", flags=set())
    for flag, dtype in (
        ("amx_bf16", "bfloat16"),
        ("avx512_bf16", "bfloat16"),
        ("bf16", "bfloat16"),
        ("asimdhp", "float16"),
    ):
        assert computes_in(dtype, flags={"sse2", flag})
    assert not computes_in("bfloat16", flags={"avx512f", "avx512_fp16"})
    assert not computes_in("float16", flags={"avx512_bf16", "f16c"})
    for text, has in (
        ("processor\t: 0\nflags\t\t: fpu avx512_bf16\n", True),
        ("Features\t: fp asimd bf16\n", True),
        ("flags\t: fpu\nbugs\t: avx512_bf16\n", False),
    ):
        monkeypatch.setattr(Path, "read_text", lambda path, text=text, **how: text)
        assert computes_in("bfloat16") is has
