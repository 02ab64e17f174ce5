"""What is told of number formats: activations that overflow, and 16 bits that the processor has no instructions for."""

import pytest
from small_collection import run

from neurolocal.pipeline.overflow import overflow_lines, ranges
from neurolocal.store import Store


def test_float16_that_overflows_is_told(fixtures, corpus, tmp_path):
    from neurolocal.subject import load_subject

    half = load_subject(fixtures / "stories260k", dtype="float16", device="cpu")
    half.model.model.layers[2].mlp.up_proj.weight.data *= 20_000
    half.model.model.layers[2].mlp.gate_proj.weight.data *= 20_000
    said: list[str] = []
    run(half, corpus, tmp_path / "s.h5", said=said, dtype="float16")
    (line,) = [one for one in said if "WARNING" in one]
    with Store(tmp_path / "s.h5") as store:
        counts = {layer: int(store.statistics(layer).nonfinite.sum()) for layer in (0, 2, 4)}
    assert counts[0] == 0
    assert counts[2] > 0
    assert counts[4] > 0
    assert f"{sum(counts.values()):,} NaN or infinite activations at post of 2 layers (2, 4), most in layer" in line
    assert line.endswith("float16 ends at 65,504: collect with --dtype bfloat16 or float32 into another store.")


@pytest.mark.parametrize("has", [True, False])
def test_16_bits_on_a_processor_without_them_are_told(fixtures, corpus, tmp_path, monkeypatch, has):
    from neurolocal.pipeline import collect
    from neurolocal.subject import load_subject

    monkeypatch.setattr(collect, "computes_in", lambda dtype: has or dtype == "float32")
    said: list[str] = []
    half = load_subject(fixtures / "stories260k", dtype="bfloat16", device="cpu")
    run(half, corpus, tmp_path / "s.h5", said=said, dtype="bfloat16")
    slow = "collect: this processor has no instructions for bfloat16; --dtype float32 may be several times faster here"
    assert said.count(slow) == (not has)


@pytest.mark.parametrize(
    ("dtype", "todo"),
    [
        ("float16", "float16 ends at 65,504: collect with --dtype bfloat16 or float32 into another store."),
        ("bfloat16", "damaged weights; check its files, or use --dtype float32."),
    ],
)
def test_a_line_a_site(dtype, todo):
    counts = {("post", 3): 5, ("pre", 4): 7, ("post", 4): 2000, ("post", 7): 1, ("post", 5): 2}
    first, second = overflow_lines(counts, dtype=dtype)
    assert first.startswith("2,008 NaN or infinite activations at post of 4 layers (3-5, 7), most in layer 4; they are")
    assert second.startswith("7 NaN or infinite activations at pre of layer 4; they are in no list and no mean. ")
    assert first.endswith(todo)
    assert list(overflow_lines({}, dtype=dtype)) == []


def test_ranges():
    assert ranges([]) == ""
    assert ranges([7, 3, 4, 5, 0]) == "0, 3-5, 7"
