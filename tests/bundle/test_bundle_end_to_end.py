"""From an index and a hub on loopback to a run in a network namespace that has no interface."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from hub_twins import Hub, serving
from package_twins import packages, wheel

from neurolocal.bundle import Bundle, make_bundle, plan_bundle, verify
from neurolocal.bundle.pip import Pip, Target, this_python
from neurolocal.bundle.sources import bundle_of
from neurolocal.bundle.verify import commands
from neurolocal.bundle.wheels import Wheels
from neurolocal.errors import NeurolocalError
from neurolocal.pipeline.run import Run

UNSHARE = ["unshare", "-rn"]


@pytest.fixture(autouse=True)
def quiet(tmp_path, monkeypatch) -> None:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_CACHE_DIR", str(tmp_path / "pip"))
    monkeypatch.setenv("NEUROLOCAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("NEUROLOCAL_OFFLINE", raising=False)
    monkeypatch.delenv("PYTHONPATH", raising=False)


@pytest.fixture
def served():
    files = {"models/some/model": {"config.json": b"{}", "model.safetensors": b"w" * 3000},
             "datasets/some/texts": {"a.jsonl": b'{"text": "a"}\n'}}  # fmt: skip
    with serving(Hub(files, packages())) as hub:
        yield hub


def wheels(served: Hub, tmp_path: Path, target: Target | None = None, project: str = "neurolocal==9.9") -> Wheels:
    pins = tmp_path / "constraints.txt"
    pins.write_text("wheel-only==2.0\n")
    pip = Pip(f"{served.url}/simple/")
    return Wheels(project, extras="all", constraints=pins, target=target or Target(), pip=pip)


def whole(served: Hub, tmp_path: Path) -> Bundle:
    run = Run(subject="some/model", corpus=Path("some/texts"), store=Path("s.h5"))
    return bundle_of(run, wheels=wheels(served, tmp_path), endpoint=served.url)


@pytest.mark.slow
def test_made_there_installed_and_run_here_without_a_network(served: Hub, tmp_path: Path) -> None:
    said: list[str] = []
    carried = make_bundle(whole(served, tmp_path), tmp_path / "b", say=said.append, volume_size=1 << 16)
    manifest = verify(tmp_path / "b")
    entries = {entry["path"]: entry for entry in manifest["files"]}
    assert {path for path in entries if path.startswith("wheels/")} == {
        "wheels/neurolocal-9.9-py3-none-any.whl",
        "wheels/wheel_only-2.0-py3-none-any.whl",
        "wheels/source_only-1.0-py3-none-any.whl",
    }
    built = entries["wheels/source_only-1.0-py3-none-any.whl"]
    assert built["origin"] == f"{served.url}/packages/source_only-1.0.tar.gz (built here)"
    assert {path: entry["licence"] for path, entry in entries.items() if path.startswith("wheels/")} == {
        "wheels/neurolocal-9.9-py3-none-any.whl": "MIT",
        "wheels/wheel_only-2.0-py3-none-any.whl": "MIT",
        "wheels/source_only-1.0-py3-none-any.whl": "BSD-3-Clause",
    }
    assert manifest["install"] == "neurolocal[all]==9.9"

    other = tmp_path / "other side"
    other.mkdir()
    carried = carried.rename(other / "carry")
    checked = subprocess.run(
        [sys.executable, "-I", "-S", carried / "verify.py"], capture_output=True, text=True, check=True
    )
    printed = checked.stdout.splitlines()[-2:]
    assert printed == commands(carried, verify(carried))
    if subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("the kernel gives no network namespace to this user (unshare -rn)")
    reach = f"import socket; socket.create_connection(('127.0.0.1', {served.url.rpartition(':')[2]}))"
    assert subprocess.run([*UNSHARE, sys.executable, "-c", reach], capture_output=True, check=False).returncode == 1
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # `python3.11` is this Python
    asked = len(served.asked)
    for command in printed:
        inside = [*UNSHARE, "sh", "-c", command]
        done = subprocess.run(inside, capture_output=True, text=True, env=os.environ | {"PATH": path}, check=False)
        assert done.returncode == 0, done.stderr
    assert (other / "results" / "s.h5").read_text() == "built fetched {}"
    assert len(served.asked) == asked
    verify(carried)


@pytest.mark.slow
def test_whole_wheels_are_not_fetched_again(served: Hub, tmp_path: Path) -> None:
    bundle = Bundle([wheels(served, tmp_path)])
    said: list[str] = []
    root = make_bundle(bundle, tmp_path / "b", say=said.append)
    assert any("building source_only" in line for line in said)
    (root / "wheels" / "wheel_only-2.0-py3-none-any.whl").write_bytes(b"damaged")
    said.clear()
    make_bundle(Bundle([wheels(served, tmp_path)]), root, say=said.append)
    assert "wheels: 1 of 3 to fetch" in said
    assert not any("building" in line for line in said)
    verify(root)


@pytest.mark.slow
def test_sizes_first_and_a_foreign_target(served: Hub, tmp_path: Path) -> None:
    from neurolocal.bundle import wheels as module

    plan = plan_bundle(Bundle([wheels(served, tmp_path)]))["wheels"]
    sizes = {content.path.rpartition("/")[2]: content.size for content in plan}
    assert sizes == {name: len(served.packages[name]) for name in sizes}
    assert len(sizes) == 3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "NO_WHEEL", ("source-only",))
        there = wheels(served, tmp_path, Target("3.12", "manylinux_2_28_x86_64"))
        root = make_bundle(Bundle([there]), tmp_path / "b", say=lambda line: None)
    manifest = verify(root)
    assert (manifest["python"], manifest["platform"]) == ("3.12", "manylinux_2_28_x86_64")
    names = {entry["path"].rpartition("/")[2] for entry in manifest["files"]}
    assert "wheel_only-2.0-cp312-cp312-manylinux_2_17_x86_64.whl" in names
    assert "source_only-1.0-py3-none-any.whl" in names


@pytest.mark.slow
def test_what_pip_says_when_it_fails(served: Hub, tmp_path: Path) -> None:
    with pytest.raises(NeurolocalError, match=r"pip install failed: ERROR: .*neurolocal(\[all\])?==8\.0"):
        wheels(served, tmp_path, project="neurolocal==8.0").plan()
    name, data = wheel("wheel_only", "2.0", {"wheel_only.py": "WORD = 'forged'"})
    section = wheels(served, tmp_path)
    plan = plan_bundle(Bundle([section]))
    assert plan
    resolved = section._resolved

    def forged(work: Path):
        found = resolved(work)
        served.packages[name] = data
        return found

    section._resolved = forged
    with pytest.raises(NeurolocalError, match=r"pip download failed"):
        make_bundle(Bundle([section]), tmp_path / "b", say=lambda line: None)
    assert not (tmp_path / "b" / "manifest.json").exists()


def test_offline_refuses_pip(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("NEUROLOCAL_OFFLINE", "1")
    with pytest.raises(NeurolocalError, match="NEUROLOCAL_OFFLINE is set"):
        wheels(Hub({}), tmp_path).plan()


def test_a_target_of_another_kind() -> None:
    assert not Target().foreign
    assert Target().flags == []
    assert Target().python == this_python()
    flags = Target("3.12", "manylinux_2_17_aarch64").flags
    assert "manylinux_2_17_aarch64" in flags
    assert "manylinux_2_5_aarch64" in flags
    assert "manylinux2014_aarch64" in flags
    assert "linux_aarch64" in flags
    assert Target("3.12", "macosx_14_0_arm64").flags[-2:] == ["--platform", "macosx_14_0_arm64"]


def test_a_written_run_is_toml(tmp_path: Path) -> None:
    text = 'a "quote" \\ and é'
    run = replace(Run(subject=text, corpus=Path("c"), store=Path(text)), layers=(1, 2))
    from neurolocal.bundle.run_file import run_toml

    found = tomllib.loads(run_toml(run, {"corpus": text}))["run"]
    assert (found["subject"], found["corpus"], found["layers"]) == (text, text, [1, 2])
    assert shlex.quote(found["store"])
