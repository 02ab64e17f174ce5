"""What the user is told of activations that overflow: a line a site, with what to do. Cost: nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from neurolocal.records import Place


def overflow_lines(nonfinite: Mapping[Place, int], *, dtype: str) -> Iterator[str]:
    """What the user should know of NaN and infinite activations: a line a site.

    Args:
        nonfinite: how many, by site and layer, where there were any.
        dtype: the dtype of the model.
    """
    todo = (
        "float16 ends at 65,504: collect with --dtype bfloat16 or float32 into another store"
        if dtype == "float16"
        else "The model itself overflows or has damaged weights; check its files, or use --dtype float32"
    )
    for site in dict.fromkeys(site for site, _ in nonfinite):
        counts = {layer: n for (at, layer), n in sorted(nonfinite.items()) if at == site}
        most = max(counts, key=lambda layer: counts[layer])
        where = (
            f"layer {most}" if len(counts) == 1 else f"{len(counts)} layers ({ranges(counts)}), most in layer {most}"
        )
        yield (
            f"{sum(counts.values()):,} NaN or infinite activations at {site} of {where}; they are in no list and no "
            f"mean. {todo}."
        )


def ranges(numbers: Iterable[int]) -> str:
    """Ascending whole numbers in short: `0, 3-5`."""
    runs: list[list[int]] = []
    for n in sorted(numbers):
        if runs and n == runs[-1][1] + 1:
            runs[-1][1] = n
        else:
            runs.append([n, n])
    return ", ".join(f"{first}" if first == last else f"{first}-{last}" for first, last in runs)
