"""No command opens a connection or asks a name server: traps in Python, and a network without interfaces."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from silence import TRAPS
from small_run import write_run

PACKAGE = Path(__file__).parents[1] / "neurolocal"

NETWORK = {"socket", "ssl", "http", "urllib.request", "ftplib", "smtplib", "httpx", "requests", "urllib3", "aiohttp"}
"""Modules that reach a network."""

SERVES = {"site/connections.py", "site/serve.py", "site/security.py"}
"""Files that listen on this machine, for `neurolocal serve`."""


EVERY = """
import json, sys
from neurolocal.cli.main import main
for job in json.loads(sys.argv[1]):
    sys.argv[1:] = job
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
"""
"""Several commands in one process, which saves their starts."""


@pytest.fixture
def trapped(tmp_path: Path):
    """Run the command line, its children included, with every attempt recorded."""
    (tmp_path / "traps").mkdir()
    (tmp_path / "traps" / "sitecustomize.py").write_text(TRAPS)
    record = tmp_path / "attempts"
    record.touch()
    home = {"HOME": str(tmp_path / "home"), "NEUROLOCAL_CACHE": str(tmp_path / "cache")}
    path = {"PYTHONPATH": f"{tmp_path / 'traps'}:{PACKAGE.parent}", "NEUROLOCAL_SILENCE": str(record)}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")} | home | path
    alone = ["unshare", "-rn"] if not subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode else []

    def run(*arguments: object, code: str = "from neurolocal.cli.main import main; main()") -> str:
        command = [*alone, sys.executable, "-c", code, *map(str, arguments)]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr
        return record.read_text()

    return run


def test_the_traps_notice(trapped) -> None:
    code = (
        "import socket, subprocess, sys\n"
        "try: socket.getaddrinfo('huggingface.co', 443)\n"
        "except OSError: pass\n"
        "child = 'import socket\\ntry: socket.create_connection((\"127.0.0.1\", 9))\\nexcept OSError: pass'\n"
        "subprocess.run([sys.executable, '-c', child], check=True)\n"
        "a, b = socket.socketpair(); a.send(b'x')\n"
    )
    attempts = trapped(code=code).splitlines()
    assert [line.split()[0] for line in attempts] == ["socket.getaddrinfo"] * 2
    assert "huggingface.co" in attempts[0]


@pytest.mark.slow
def test_a_run_and_every_reader_are_silent(trapped, fixtures: Path, stories_gguf: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path, fixtures / "stories260k")
    run.write_text(run.read_text().replace("[collect]", f"llm = {str(stories_gguf)!r}\n[collect]"))
    store, layers = "out/s.h5", ("--layers", "1")
    jobs = [
        ("run", run),
        ("collect", "--subject", stories_gguf, "--corpus", "corpus.jsonl", "--store", "g.h5", "--row-length", "32",
         "--max-rows", "8"),
        ("similarity", store, *layers, "--vectors", "vectors.txt"),
        ("perturbation", store, *layers),
        ("verdict", store, *layers, "--explain"),
        ("check", store, "--replay", "4"),
        ("report", store, "--json"),
        ("report", store, "--html", "page.html"),
        ("show", store, "1", "0"),
        ("find", store, " the"),
        ("try", store, "a big red ball"),
        ("site", store, "pages"),
        ("export", store, "tables"),
        ("merge", "merged.h5", "g.h5"),
    ]  # fmt: skip
    assert trapped(json.dumps(jobs, default=str), code=EVERY) == ""


def imports(path: Path) -> set[str]:
    """The modules that a file imports, wherever it does; of `from a import b` both `a` and `a.b`."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    parts = [node for node in nodes if isinstance(node, ast.ImportFrom)]
    return plain | {node.module or "" for node in parts} | {f"{n.module}.{a.name}" for n in parts for a in n.names}


def test_bundle_alone_imports_what_reaches_a_network() -> None:
    found = {}
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).as_posix()
        reach = {
            m for m in imports(path) if m in NETWORK or m.split(".")[0] in NETWORK - {"http"} or m == "http.client"
        }
        if reach and not name.startswith("bundle/"):
            found[name] = reach
    assert set(found) <= SERVES, found
