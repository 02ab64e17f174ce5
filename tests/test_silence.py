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

from neurolocal.cli.main import COMMANDS
from neurolocal.records import TABLES

PACKAGE = Path(__file__).parents[1] / "neurolocal"

sys.path.append(str(PACKAGE.parent / "scripts"))

from silent import no_routes  # noqa: E402

NETWORK = {
    "socket", "ssl", "http", "urllib.request", "ftplib", "smtplib", "httpx", "requests", "urllib3", "aiohttp",
    "fsspec", "s3fs", "botocore", "boto3", "aiobotocore",
}  # fmt: skip
"""Modules that reach a network."""

SERVES = {"site/connections.py", "site/serve.py", "site/security.py"}
"""Files that listen on this machine, for `neurolocal serve`."""

ELSEWHERE = {"demo": "the same as `run`, in minutes: `scripts/silent.py neurolocal demo`"}
"""Commands that are not run here, each with where."""

EVERY = """
import json, os, signal, sys
from neurolocal.cli.main import main

def end(*_):
    raise KeyboardInterrupt

signal.signal(signal.SIGALRM, end)
for job in json.loads(sys.argv[1]):
    sys.argv[1:] = job
    serves = job[0] == "serve"
    os.environ["NEUROLOCAL_SILENCE_LOOPBACK"] = "1" if serves else ""
    signal.alarm(20 if serves else 0)
    try:
        main()
    except SystemExit as done:
        if done.code and not serves:
            raise
"""
"""Several commands in one process, which saves their starts; `serve` may use loopback, and is stopped."""

ALONE = ["unshare", "-rn", "sh", "-c", 'ip link set lo up; "$@"; code=$?; cp /proc/net/snmp* kernel; exit $code', "sh"]
"""A network namespace with loopback alone; what the kernel counted in it is kept in the folder `kernel`."""


@pytest.fixture
def trapped(tmp_path: Path):
    """Run the command line, its children included, with every attempt recorded, by Python and by the kernel."""
    (tmp_path / "traps").mkdir()
    (tmp_path / "kernel").mkdir()
    (tmp_path / "traps" / "sitecustomize.py").write_text(TRAPS)
    record = tmp_path / "attempts"
    record.touch()
    home = {"HOME": str(tmp_path / "home"), "NEUROLOCAL_CACHE": str(tmp_path / "cache")}
    path = {"PYTHONPATH": f"{tmp_path / 'traps'}:{PACKAGE.parent}", "NEUROLOCAL_SILENCE": str(record)}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "NEUROLOCAL_SILENCE"))}
    environment = kept | home | path
    alone = ALONE if not subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode else []

    def run(*arguments: object, code: str = "from neurolocal.cli.main import main; main()") -> str:
        command = [*alone, sys.executable, "-c", code, *map(str, arguments)]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=1800)
        assert done.returncode == 0, done.stderr
        routeless = no_routes(tmp_path / "kernel") if alone else 0
        return record.read_text() + (f"{routeless} packets had no route\n" if routeless else "")

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


def test_names_that_begin_as_loopback_does_are_noticed(trapped) -> None:
    hosts = ["127.0.0.1", "::1", "localhost", "0.0.0.0", "127.example.com", "localhost.example.com"]
    code = (
        "import os, socket\n"
        "os.environ['NEUROLOCAL_SILENCE_LOOPBACK'] = '1'\n"
        f"for host in {hosts!r}:\n"
        "    try: socket.getaddrinfo(host, 80)\n"
        "    except OSError: pass\n"
    )
    attempts = trapped(code=code)
    assert [host for host in hosts if f"'{host}'" in attempts] == hosts[4:]


def test_the_kernel_notices_what_no_trap_sees(trapped) -> None:
    if subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no network namespaces here")
    child = "import socket\ntry: socket.create_connection(('1.1.1.1', 443))\nexcept OSError: pass"
    code = f"import subprocess, sys\nsubprocess.run([sys.executable, '-I', '-S', '-c', {child!r}], check=True)"
    assert trapped(code=code) == "1 packets had no route\n"


@pytest.mark.slow
def test_every_command_is_silent(trapped, fixtures: Path, stories_gguf: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path, fixtures / "stories260k")
    run.write_text(run.read_text().replace("[collect]", f"llm = {str(stories_gguf)!r}\n[collect]"))
    store, layers = "out/s.h5", ("--layers", "1")
    llm, subject = ("--llm", stories_gguf), fixtures / "stories260k"
    jobs = [
        ("run", run),
        ("collect", "--subject", stories_gguf, "--corpus", "corpus.jsonl", "--store", "g.h5", "--row-length", "32",
         "--max-rows", "8"),
        ("similarity", store, *layers, "--vectors", "vectors.txt"),
        ("meanings", store, *layers, "--vectors", "vectors.txt"),
        ("perturbation", store, *layers),
        ("verdict", store, *layers, "--explain"),
        ("intervention", store, *layers, "--limit", "2"),
        ("summary", store, *layers, *llm, "--vectors", "vectors.txt", "--limit", "1"),
        ("score", store, *layers, *llm, "--vectors", "vectors.txt", "--limit", "1", "--texts", "2", "--rows", "8"),
        ("check", store, "--replay", "4"),
        ("plan", "--subject", subject, "--tokens", "1e6", "--machine", "h100", "--dtype", "bfloat16"),
        ("report", store, "--json"),
        ("report", store, "--html", "page.html", "--parquet", "n.parquet", "--plots", "plots"),
        ("show", store, "1", "0"),
        ("find", store, " the"),
        ("try", store, "a big red ball"),
        ("site", store, "pages"),
        ("serve", store, "--subject", "--port", "0"),
        *(("export", store, kind, "--format", kind) for kind in ("parquet", "csv", "neuron-records", "neuronpedia")),
        ("merge", "merged.h5", "g.h5"),
        ("neuroscope", "export", store, "theirs", *layers, "--neurons", "0-9", "--subject", subject),
        ("neuroscope", "import", "theirs", "--out", "theirs.h5"),
        ("neuroscope", "replay", "theirs.h5", "--subject", subject, "--out", "ours.h5"),
        ("neuroscope", "compare", store, "ours.h5", "--html", "compare.html"),
        ("bundle", "make", "carry", "--run", run, "--sections", "subject,corpus,vectors,llm"),
        ("bundle", "verify", "carry"),
    ]  # fmt: skip
    assert {job[0] for job in jobs} | set(ELSEWHERE) == set(COMMANDS) | set(TABLES), "a command is not tried"
    assert trapped(json.dumps(jobs, default=str), code=EVERY) == ""


def imports(path: Path) -> set[str]:
    """The modules that a file imports, wherever it does; of `from a import b` both `a` and `a.b`."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    parts = [node for node in nodes if isinstance(node, ast.ImportFrom)]
    return plain | {node.module or "" for node in parts} | {f"{n.module}.{a.name}" for n in parts for a in n.names}


def test_two_rooms_alone_import_what_reaches_a_network() -> None:
    found = {}
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).as_posix()
        reach = {
            m for m in imports(path) if m in NETWORK or m.split(".")[0] in NETWORK - {"http"} or m == "http.client"
        }
        if reach and not name.startswith(("bundle/", "storage/")):
            found[name] = reach
    assert set(found) <= SERVES, found
