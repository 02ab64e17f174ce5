"""Run a command in a network namespace with loopback alone, and count the connections that it attempts beyond that.

    python scripts/silent.py neurolocal demo
    python scripts/silent.py pytest -q -m 'not slow'
    python scripts/silent.py bash scripts/demo.sh      # with an installed .venv

Two counts, of the command and all processes that it starts. The kernel's: packets of the namespace that had no route
(`OutNoRoutes`), of any program, TCP or UDP, and so each question to a name server that is not on this machine. And
Python's own, by traps that say what was tried and by whom (`tests/silence.py`): look-ups of names and connections
beyond loopback, which are refused. Exits with the command's code, or with 1 where either count is not 0.

Needs Linux, `unshare` and `ip`, and root or user namespaces.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]

INSIDE = "NEUROLOCAL_SILENT_INSIDE"
"""Is set in the namespace."""


def main() -> None:
    """Run the command, and print the counts."""
    command = sys.argv[1:]
    if not command or command[0] in ("-h", "--help"):
        sys.exit(__doc__)
    if INSIDE not in os.environ:
        how = ["-n"] if os.geteuid() == 0 else ["-rn"]
        os.environ[INSIDE] = "1"
        os.execvp("unshare", ["unshare", *how, sys.executable, *sys.argv])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    interfaces = [name for _, name in socket.if_nameindex()]
    with tempfile.TemporaryDirectory(prefix="silent-") as folder:
        record = Path(folder, "attempts")
        record.touch()
        code = subprocess.run(command, env=trapped(Path(folder), record), check=False).returncode
        tried = record.read_text().splitlines()
    for line in tried[:50]:
        print(f"tried: {line}", file=sys.stderr)
    routeless = no_routes()
    print(
        f"interfaces: {', '.join(interfaces)}; attempts beyond loopback: {len(tried)} in Python, {routeless} in the "
        f"kernel; exit code {code}",
        file=sys.stderr,
    )
    sys.exit(code or bool(tried or routeless))


def trapped(folder: Path, record: Path) -> dict[str, str]:
    """The environment in which every Python process has the traps; loopback passes."""
    sys.path.append(str(ROOT / "tests"))
    from silence import TRAPS

    (folder / "sitecustomize.py").write_text(TRAPS)
    path = f"{folder}:{os.environ.get('PYTHONPATH', ROOT)}"
    return os.environ | {"PYTHONPATH": path, "NEUROLOCAL_SILENCE": str(record), "NEUROLOCAL_SILENCE_LOOPBACK": "1"}


def no_routes(folder: Path = Path("/proc/net")) -> int:
    """Packets of this network namespace that had no route, IPv4 and IPv6; or of a copy of its counters in a folder."""
    names, values = (line.split() for line in (folder / "snmp").read_text().splitlines() if line[:3] == "Ip:")
    six = [line.split() for line in (folder / "snmp6").read_text().splitlines()]
    return int(values[names.index("OutNoRoutes")]) + sum(int(line[1]) for line in six if line[0] == "Ip6OutNoRoutes")


if __name__ == "__main__":
    main()
