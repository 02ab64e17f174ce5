"""pip as a subprocess: which Python and platform it works for, which index it asks, and what it says when it fails.

Invariant: pip's own configuration (mirrors, certificates, proxies) is kept; nothing is installed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from neurolocal.errors import NeurolocalError


def this_python() -> str:
    """The version of this Python, such as 3.11."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def this_platform() -> str:
    """This platform as wheels name it, such as linux_x86_64."""
    return sysconfig.get_platform().replace("-", "_").replace(".", "_")


@dataclass(frozen=True)
class Target:
    """The Python and platform of the other side."""

    python: str = field(default_factory=this_python)
    """Its version, such as 3.12."""
    platform: str = field(default_factory=this_platform)
    """As wheels name it: `manylinux_2_28_x86_64`, `macosx_14_0_arm64`."""

    @property
    def foreign(self) -> bool:
        """Whether it is not this machine's."""
        return (self.python, self.platform) != (this_python(), this_platform())

    @property
    def flags(self) -> list[str]:
        """pip's flags for it; none for this machine."""
        if not self.foreign:
            return []
        platforms = [flag for name in _accepted(self.platform) for flag in ("--platform", name)]
        return ["--only-binary=:all:", "--implementation", "cp", "--python-version", self.python, *platforms]


def _accepted(platform: str) -> list[str]:
    """The platform tags that a platform accepts: glibc's older versions too (PEP 600), which pip leaves to the user."""
    kind, _, rest = platform.partition("_")
    if kind != "manylinux" or rest.count("_") < 2:
        return [platform]
    major, minor, machine = rest.split("_", 2)
    newer = [f"manylinux_{major}_{n}_{machine}" for n in range(int(minor), 4, -1)]
    older = [f"{name}_{machine}" for name in ("manylinux2014", "manylinux2010", "manylinux1", "linux")]
    return newer + older


@dataclass(frozen=True)
class Pip:
    """How pip is called."""

    index_url: str | None = None
    """An index in the form of PEP 503; None is the one that pip is configured for."""
    build_environment: Mapping[str, str] | None = None
    """The environment of builds; None is this process's."""

    @property
    def build_settings(self) -> str:
        """What distinguishes one build of a package from another."""
        return (self.build_environment or os.environ).get("CMAKE_ARGS", "")

    def __call__(self, command: str, *arguments: str | Path, building: bool = False) -> None:
        """Run a command of pip.

        Args:
            command: such as `download`.
            arguments: of that command.
            building: builds a wheel that is kept: pip's cache of wheels, built for this processor, is not used.

        Raises:
            NeurolocalError: pip failed; the message has its last error.
        """
        index = ["--index-url", self.index_url] if self.index_url else []
        more = ["--no-cache-dir"] if building else []
        line = [sys.executable, "-m", "pip", "--disable-pip-version-check", command, "--quiet", *index, *more]
        done = subprocess.run(
            [*line, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env=dict(self.build_environment) if building and self.build_environment else None,
            check=False,
        )
        if done.returncode:
            said = [part for part in done.stderr.splitlines() if part.strip().startswith(("ERROR", "error"))]
            why = (said or done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1].strip()[:400]
            raise NeurolocalError(
                f"gathering wheels: pip {command} failed: {why}. Check the index and the target; the same command "
                "resumes."
            )
