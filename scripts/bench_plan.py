"""Does `neurolocal plan` predict what a collection then takes? Time, peak memory and the size of the store.

For each subject: `plan --calibrate` measures the machine, `plan` predicts, `collect` runs, and the ratios are printed.

    python scripts/bench_plan.py                      # three subjects, some 7 minutes on a quiet machine
    python scripts/bench_plan.py --clock cpu --only stories260k
    python scripts/bench_plan.py --only mixtral       # with experts

`--clock cpu` compares processor time over the cores on both sides, for a machine that others use at the same time. This
process imports nothing heavy, since Linux counts the memory of a parent as the first peak of its child.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from pydoc_data import topics
from typing import Any

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "data" / "sample.jsonl.zst"


@dataclass(frozen=True)
class Case:
    """A subject, a corpus and settings."""

    name: str
    """Of the subject."""
    rows: int
    """Rows that are read."""
    corpus: str
    """`sample`, `code` (Python's standard library, a folder of texts) or `reference` (Python's manual, JSON lines)."""
    settings: tuple[str, ...]
    """Further arguments of `plan` and `collect`."""


CASES = (
    Case("stories260k", 6000, "sample", ()),
    Case("smollm2", 160, "reference", ("--dtype", "bfloat16", "--row-length", "512")),
    Case("gpt-neox", 800, "code", ("--row-length", "128", "--batch-size", "16", "--k", "10")),
    Case("mixtral", 600, "sample", ("--layers", "0,1,2")),
)

DEFAULT = [case.name for case in CASES[:3]]
"""The cases that run where none is named."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--only", nargs="*", choices=[case.name for case in CASES], default=DEFAULT)
    parser.add_argument("--rows", type=int, help="rows of each case, instead of its own")
    options = parser.parse_args()
    began = time.monotonic()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, clock {options.clock}")
    heads = ("subject", "corpus", "rows", "seconds, plan / run", "ratio", "peak MiB", "ratio", "store MB", "ratio")
    print(f"| {' | '.join(heads)} |\n|{' --- |' * len(heads)}")
    for case in CASES:
        if case.name in options.only:
            with tempfile.TemporaryDirectory() as folder:
                compare(case, options.rows or case.rows, options.clock, Path(folder))
    print(f"load {os.getloadavg()[0]:.1f} at the end, after {(time.monotonic() - began) / 60:.1f} minutes")


def compare(case: Case, rows: int, clock: str, folder: Path) -> None:
    """Measure, predict, run, and print one line."""
    subject, machine, store = subject_of(case.name, folder), folder / "machine.json", folder / "store.h5"
    common = ["plan", "--subject", subject, "--machine", str(machine), "--rows", str(rows), *case.settings]
    run([*common, "--calibrate", "--clock", clock])
    told = json.loads(run([*common, "--json"])[0])
    collect = [
        "collect",
        "--subject",
        subject,
        "--corpus",
        str(corpus(case.corpus, rows, folder)),
        "--device",
        "cpu",
        *case.settings,
    ]
    run([*collect, "--store", str(folder / "first.h5"), "--max-rows", "1"])  # fills the cache of a new subject
    _, wall, cpu, peak = run([*collect, "--store", str(store), "--max-rows", str(rows)])
    took = wall if clock == "wall" else cpu / (os.cpu_count() or 1)
    size = store.stat().st_size
    print(
        f"| {case.name} | {case.corpus} | {rows:,} | {told['seconds']:.1f} / {took:.1f} | {told['seconds'] / took:.2f} "
        f"| {told['host_bytes'] / 2**20:,.0f} / {peak / 2**20:,.0f} | {told['host_bytes'] / peak:.2f} "
        f"| {told['store_bytes'] / 1e6:,.1f} / {size / 1e6:,.1f} | {told['store_bytes'] / size:.3f} |",
        flush=True,
    )
    for step in told["steps"]:
        print(f"    {step['name']:<34}{step['seconds']:8.2f} s   {step['formula']}", file=sys.stderr)
    for amount in told["host"]:
        print(f"    {amount['name']:<34}{amount['bytes'] / 2**20:8.1f} MiB", file=sys.stderr)


def run(arguments: list[str]) -> tuple[str, float, float, float]:
    """The command line: its output, seconds, processor seconds, and peak memory in bytes."""
    command = [sys.executable, "-m", "neurolocal", *arguments]
    began = time.monotonic()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = subprocess.Popen(command, stdout=out, stderr=err, cwd=ROOT)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = status
        wall = time.monotonic() - began
        out.seek(0)
        err.seek(0)
        said = err.read().decode(errors="replace")
        if os.waitstatus_to_exitcode(status):
            sys.exit(f"{' '.join(arguments)}: {said[-2000:]}")
        for line in said.replace("\r", "\n").splitlines():
            if line.startswith(("plan:", "collect: ")) and "%|" not in line:
                print(f"    {line}", file=sys.stderr)
        text = out.read().decode()
    unit = 1 if sys.platform == "darwin" else 1024
    return text, wall, used.ru_utime + used.ru_stime, float(used.ru_maxrss * unit)


def corpus(kind: str, rows: int, folder: Path) -> Path:
    """The texts of a case; the sample over and over where it has too few rows."""
    if kind == "sample" and rows <= 6000:
        return SAMPLE
    made = folder / "corpus"
    made.mkdir()
    if kind == "code":
        for path in Path(sysconfig.get_path("stdlib")).glob("*.py"):
            shutil.copy(path, made / f"{path.stem}.txt")
    elif kind == "reference":
        texts = [json.dumps({"text": text}) for text in topics.topics.values()]
        (made / "reference.jsonl").write_text("\n".join(texts), encoding="utf-8")
    else:
        for i in range(1 + rows // 6000):
            (made / f"{i:03}.jsonl.zst").symlink_to(SAMPLE)
    return made


def subject_of(name: str, folder: Path) -> str:
    """A path or name; random models are made here, with the tokenizer of stories260k."""
    fixtures = Path(os.environ.get("NEUROLOCAL_FIXTURES", ROOT.parent / "shared" / "fixtures"))
    if name == "smollm2":
        return name
    if name == "stories260k":
        return str(fixtures / name)
    subprocess.run([sys.executable, "-c", MAKE, name, str(fixtures / "stories260k"), str(folder / name)], check=True)
    return str(folder / name)


SHAPES: dict[str, dict[str, Any]] = {
    "gpt-neox": {
        "hidden_size": 384, "num_hidden_layers": 8, "num_attention_heads": 6, "intermediate_size": 1536,
        "vocab_size": 512, "max_position_embeddings": 512,
    },
    "mixtral": {
        "hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 4,
        "intermediate_size": 512, "num_local_experts": 8, "num_experts_per_tok": 2, "vocab_size": 512,
        "max_position_embeddings": 1024,
    },
}  # fmt: skip
"""Random models of other architectures."""

MAKE = f"""
import json, shutil, sys, torch, transformers
from pathlib import Path
name, source, target = sys.argv[1:]
torch.manual_seed(0)
kind = {{"gpt-neox": transformers.GPTNeoXConfig, "mixtral": transformers.MixtralConfig}}[name]
config = kind(**{SHAPES!r}[name], bos_token_id=1, eos_token_id=2)
model = transformers.AutoModelForCausalLM.from_config(config)
model.save_pretrained(target)
for path in Path(source).iterdir():
    if path.name.startswith(("tokenizer", "special_tokens")):
        shutil.copy(path, target)
"""
"""Makes a folder with random weights in a process of its own."""


if __name__ == "__main__":
    main()
