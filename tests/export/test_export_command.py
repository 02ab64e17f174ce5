"""`neurolocal export`: what it says, its exit codes, options that belong to another format."""

from __future__ import annotations

import sys
from typing import Any

from neurolocal.cli.main import main


def test_the_command(full_store, tmp_path, capfd, monkeypatch):
    def run(*arguments: Any) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["neurolocal", "export", str(full_store.path), *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
        return code, capfd.readouterr().err

    out = tmp_path / "out"
    code, said = run(out, "--format", "csv", "--tables", "verdict,score", "--layers", "2")
    assert (code, sorted(path.name for path in out.iterdir())) == (0, ["manifest.json", "score.csv", "verdict.csv"])
    assert said.splitlines() == [f"export: {out}/verdict.csv, 3 rows", f"export: {out}/score.csv, 3 rows"]
    code, said = run(tmp_path / "np", "--format", "neuronpedia", "--model", "m", "--creator", "me")
    assert (code, said) == (0, f"export: 8 neurons as Neuronpedia's lines in {tmp_path / 'np'}\n")
    assert '"creatorId":"me"' in (tmp_path / "np" / "m" / "2" / "source.jsonl").read_text()
    code, said = run(tmp_path / "r", "--format", "neuron-records", "--layers", "0")
    assert (code, said) == (0, f"export: 4 neuron records in {tmp_path / 'r' / 'neurons'}\n")
    code, said = run(tmp_path / "no", "--tables", "verdicts")
    assert code == 1
    assert "there is no table 'verdicts'" in said
    code, said = run(tmp_path / "no", "--format", "neuronpedia", "--tables", "verdict")
    assert code == 2
    assert "--tables belongs to --format parquet or csv; it was given with neuronpedia" in said
    assert not (tmp_path / "no").exists()
