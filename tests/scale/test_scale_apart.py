"""The process in which a worker with a GPU reads text: the same files, and it ends with its parent."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import psutil
import pytest
from worker_twins import SETTINGS

from neurolocal.config import CollectConfig
from neurolocal.corpus import Cursor, KeptFile, KeptText, Section
from neurolocal.scale.apart import Apart
from neurolocal.scale.pool import Failed
from neurolocal.scale.worker import CollectRequest, Worker

PARENT = """
import os, sys, time
from neurolocal.scale.apart import Apart
if __name__ == "__main__":
    print(Apart().do(os.getpid), flush=True)
    time.sleep(600)
"""


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_with_a_gpu_reads_and_links_apart(
    subject: Any, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = CollectConfig(**SETTINGS)
    worker = Worker(CollectRequest(subject.name, corpus, tmp_path / "s.h5", config), threads=None)
    worker._subject = subject
    found = []
    for on_gpu in (False, True):
        monkeypatch.setattr("neurolocal.pipeline.collect.on_gpu", lambda subject, on_gpu=on_gpu: on_gpu)
        section, path = Section(0, (0, 0), (0, 12)), tmp_path / f"{on_gpu}"
        read = worker.read(config, section, path)
        assert isinstance(read, tuple), read
        file, skipped = read
        link = worker.link(config, section, Cursor(), KeptText((file,)), tmp_path / f"{on_gpu}.tail")
        assert isinstance(getattr(link, "tail", None), KeptFile), link
        assert (worker._reader._pool is not None) == on_gpu
        assert not isinstance(link, Failed)
        found.append((path.read_bytes(), skipped, link.end, (tmp_path / f"{on_gpu}.tail").read_bytes()))
    assert found[0] == found[1]
    with pytest.raises(BrokenProcessPool):
        worker._reader.do(killed)
    assert worker._reader.do(os.getpid) != os.getpid(), "another one was started"
    worker._reader.end()


def test_it_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    ends = time.monotonic() + 600
    with contextlib.suppress(psutil.NoSuchProcess):  # it may go between two looks
        while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < ends
            time.sleep(0.05)


def test_what_it_raises_comes_back() -> None:
    apart = Apart()
    with pytest.raises(ZeroDivisionError):
        apart.do(divmod, 1, 0)
    apart.end()
