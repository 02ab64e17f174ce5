"""Compile the collection's GPU kernels without a GPU, and print registers and spills.

    python scripts/compile_kernels.py                  # sm_80 and sm_90: every kernel, dtype and choice in use
    python scripts/compile_kernels.py --capability 90

Exit code 1 if a kernel uses the stack, which is where registers are spilled to. Needs triton, whose package brings the
assembler and `cuobjdump`.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from neurolocal.collect import triton_kernels as kernels
from neurolocal.collect.exact import LIMIT, SCALE
from neurolocal.collect.triton_state import BAND_BLOCK, CASE_TILE, TILE, merge_block
from neurolocal.records import BINS, MOMENT_UNITS, N_BANDS, THRESHOLDS

POINTERS = {
    "runs": "*i64", "n_runs": "*i64", "rows": "*i64", "text": "*i64", "drawn": "*i64", "entering": "*i64",
    "slots": "*i64", "strength": "*fp32", "at": "*i32", "sums": "*fp32", "counts": "*i64", "case_sums": "*fp32",
    "case_counts": "*i64", "list_strength": "*fp32", "list_row": "*i64", "list_position": "*i32", "list_text": "*i64",
    "maximum": "*fp32", "minimum": "*fp32", "whole": "*i64", "fraction": "*i64", "case_whole": "*i64",
    "case_fraction": "*i64", "histogram": "*i32", "rank": "*i64", "band_activation": "*fp32", "band_row": "*i64",
    "band_position": "*i32", "band_rank": "*i64", "band_count": "*i64", "band_top": "*i32",
}  # fmt: skip
"""Types of the kernels' arguments; `x`, `gate`, `linear`, `window` and `sample` have the activations' own."""

OWN = ("x", "gate", "linear", "window", "sample")


class Variant(NamedTuple):
    """A kernel as a collection launches it."""

    name: str
    kernel: Any
    dtype: str
    constants: dict[str, Any]
    warps: int


class Usage(NamedTuple):
    """What the assembler says of a compiled kernel."""

    registers: int
    """Registers a thread, of 255."""
    stack: int
    """Bytes a thread in local memory, where registers are spilled to."""


def variants() -> Iterator[Variant]:
    """Every kernel with each dtype, with and without sign cases and `dedupe`, short and long lists."""
    levels = dict(zip(("L0", "L1", "L2", "L3"), THRESHOLDS, strict=True))
    exact = {"FOURTH": 2.0 ** -MOMENT_UNITS[3], "LIMIT": LIMIT, "SCALE": SCALE}
    for dtype in ("bf16", "fp16", "fp32"):
        for cases, tile in ((False, TILE), (True, CASE_TILE)):
            constants = levels | {"CASES": cases, "BP": tile[0], "BN": tile[1]}
            yield Variant("scan with sign cases" if cases else "scan", kernels.scan, dtype, constants, 4)
        for dedupe in (False, True):
            for k in (32, 256):
                block = merge_block(k, dedupe=dedupe)
                constants = exact | {"DEDUPE": dedupe, "BM": block, "BB": 32, "K": k, "WP": 64}
                yield Variant(f"merge k={k}{' dedupe' if dedupe else ''}", kernels.merge, dtype, constants, 1)
        yield Variant(
            "bands", kernels.bands, dtype, {"N_BANDS": N_BANDS, "HALF": BINS // 2, "BM": BAND_BLOCK, "E": 8}, 1
        )
        yield Variant("draw", kernels.draw, dtype, {"BINS": BINS, "BD": 64, "BN": 128}, 4)


def usage(variant: Variant, capability: int) -> Usage:
    """Compile a kernel for a device that need not be there.

    Raises:
        triton.CompilationError: it does not compile.
    """
    signature = {}
    for name in variant.kernel.arg_names:
        if name in variant.constants:
            signature[name] = "constexpr"
        else:
            signature[name] = f"*{variant.dtype}" if name in OWN else POINTERS.get(name, "i32")
    source = ASTSource(variant.kernel, signature, constexprs=variant.constants)
    target = GPUTarget("cuda", capability, 32)
    made = triton.compile(source, target=target, options={"num_warps": variant.warps})
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(made.asm["cubin"])
        file.flush()
        tool = next(Path(triton.__file__).parent.rglob("cuobjdump"))
        command = [str(tool), "--dump-resource-usage", file.name]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+)", said)
    assert found is not None, said
    return Usage(int(found[1]), int(found[2]))


def main() -> None:
    """Compile and print."""
    parser = argparse.ArgumentParser(description="Compile the collection's GPU kernels without a GPU.")
    parser.add_argument("--capability", type=int, nargs="+", default=[80, 90])
    spilled = False
    for capability in parser.parse_args().capability:
        for variant in variants():
            found = usage(variant, capability)
            spilled |= found.stack > 0
            spills = f"  SPILLS {found.stack} bytes" if found.stack else ""
            print(
                f"sm_{capability} {variant.dtype} {variant.name:<22} {found.registers:3} registers{spills}", flush=True
            )
    sys.exit(spilled)


if __name__ == "__main__":
    main()
