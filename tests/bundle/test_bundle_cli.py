"""`neurolocal bundle` on the command line."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from hub_twins import Hub, serving
from small_run import write_run

from neurolocal.cli.bundle import Size
from neurolocal.cli.main import main


@pytest.fixture
def run(monkeypatch, capfd, tmp_path):
    """The command line in this process; gives its exit code, output and errors."""
    monkeypatch.setenv("NEUROLOCAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("NEUROLOCAL_OFFLINE", raising=False)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["neurolocal", "bundle", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        return code, *capfd.readouterr()

    return run


LOCAL = ("--sections", "subject,vectors,corpus")


def test_from_a_run_file_to_the_commands(run, fixtures: Path, tmp_path: Path) -> None:
    write_run(tmp_path, fixtures / "stories260k")
    given = ("--run", tmp_path / "RUN.toml", *LOCAL)
    code, out, _ = run("make", tmp_path / "carry", *given, "--dry-run")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["subject", "vectors", "corpus", "all"]
    assert not (tmp_path / "carry").exists()
    code, out, _ = run("make", tmp_path / "carry", *given, "--dry-run", "--json")
    assert json.loads(out)["corpus"] == [
        {"path": "corpus/corpus.jsonl", "size": (tmp_path / "corpus.jsonl").stat().st_size, "licence": "unknown",
         "origin": "local: corpus.jsonl"}
    ]  # fmt: skip
    code, out, err = run("make", tmp_path / "carry", *given, "--licence", "corpus=CC0-1.0", "--volume-size", "100kB")
    assert (code, out) == (0, "")
    assert "on the other side: python3 carry.volumes/verify.py" in err
    manifest = json.loads((tmp_path / "carry" / "manifest.json").read_text())
    assert {e["licence"] for e in manifest["files"] if e["section"] == "corpus"} == {"CC0-1.0"}
    for folder in ("carry", "carry.volumes"):
        code, out, _ = run("verify", tmp_path / folder)
        assert code == 0
        assert out.splitlines()[-1] == f"neurolocal run {tmp_path / folder / 'RUN.toml'}"
    code, out, _ = run("verify", tmp_path / "carry", "--json")
    assert json.loads(out)["commands"] == [f"neurolocal run {tmp_path / 'carry' / 'RUN.toml'}"]
    (tmp_path / "carry" / "RUN.toml").write_text("")
    code, out, err = run("verify", tmp_path / "carry")
    assert (code, out) == (1, "")
    assert "0 bytes; expected" in err


def test_the_demo(run, smol_gguf: Path, tmp_path: Path) -> None:
    """What the demo runs, with its settings: read again it is the demo."""
    from neurolocal.pipeline.demo import demo_run
    from neurolocal.pipeline.run import read_run

    code, _, err = run("make", tmp_path / "carry", "--demo", *LOCAL[:1], "subject,llm,corpus")
    assert code == 0, err
    carried, demo = read_run(tmp_path / "carry" / "RUN.toml"), demo_run(Path("store.h5"), max_rows=500)
    assert carried.configs == demo.configs
    assert (carried.layers, carried.sides, carried.vectors) == (demo.layers, demo.sides, demo.vectors)
    assert carried.subject == carried.llm == str(tmp_path / "carry" / "subject" / smol_gguf.name)
    files = json.loads((tmp_path / "carry" / "manifest.json").read_text())["files"]
    assert {e["section"]: e["licence"] for e in files} == {
        "subject": "apache-2.0",
        "corpus": "kind by kind: data/README.md of neurolocal",
        "run": "NOASSERTION",
    }


def test_names_on_a_hub(run, tmp_path: Path, monkeypatch) -> None:
    asked, look_up = set[str](), socket.getaddrinfo

    def heard(host: str, *more: Any, **how: Any) -> Any:
        asked.add(host)
        return look_up(host, *more, **how)

    monkeypatch.setattr(socket, "getaddrinfo", heard)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)  # an earlier test may have loaded a subject
    files = {"models/some/model": {"config.json": b"{}"}, "datasets/some/texts": {"a.jsonl": b"{}"}}
    with serving(Hub(files)) as hub:
        named = ("--subject", "some/model", "--corpus", "some/texts", "--endpoint", hub.url, *LOCAL)
        code, out, err = run("make", tmp_path / "carry", *named, "--dry-run")
        assert (code, err) == (0, "")
        assert out.splitlines()[0] == "subject        1 files       2 B"
    assert asked == {"127.0.0.1"}


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("make", "DIR", "--sections", "models"), 2, "no section 'models'; the sections are wheels, subject"),
        (("make", "DIR", "--licence", "corpus"), 2, "give SECTION=TEXT"),
        (("make", "DIR", "--licence", "other=MIT"), 2, "no section 'other'"),
        (("make", "DIR", "--volume-size", "4 apples"), 2, "give bytes, or kB, MB, GB, TB, for example 4GB"),
        (("make", "DIR", "--json"), 2, "--json belongs to --dry-run"),
        (("make", "DIR", "--demo", "--run", "r.toml"), 2, "--demo and --run name two runs"),
        (("make", "DIR", "--subject", "a"), 2, "give --subject and --corpus, or --run"),
        (("make", "DIR", "--sections", "corpus"), 1, "nothing to carry"),
        (("verify", "DIR"), 1, "Give the folder of a bundle"),
    ],
)
def test_mistakes(arguments, code: int, says: str, run, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    ended, out, err = run(*arguments)
    assert (ended, out) == (code, "")
    assert says in err


def test_offline_is_one_line(run, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("NEUROLOCAL_OFFLINE", "1")
    code, _, err = run("make", tmp_path / "carry", "--sections", "wheels", "--dry-run")
    assert code == 1
    assert "NEUROLOCAL_OFFLINE is set, so no network may be used" in err


@pytest.mark.parametrize(("text", "size"), [("4GB", 4 * 10**9), ("1.5 mb", 1_500_000), ("700", 700), ("2k", 2000)])
def test_sizes(text: str, size: int) -> None:
    assert Size().convert(text, None, None) == size
