"""The plan: sums by hand, real files, and what a user can get wrong."""

from __future__ import annotations

import dataclasses
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import click.testing
import numpy as np
import pytest
from small_run import write_corpus

from neurolocal.config import CollectConfig
from neurolocal.errors import ConfigError, NeurolocalError
from neurolocal.scale.folder import Part
from neurolocal.scale.plan_constants import BlockRates, Constants, read_constants, write_constants
from neurolocal.scale.plan_cost import Plan, forward_seconds, plan
from neurolocal.scale.plan_job import Job
from neurolocal.scale.plan_merge import levels
from neurolocal.scale.plan_report import as_text, duration, facts
from neurolocal.scale.plan_request import SHAPES, named_shape
from neurolocal.scale.plan_size import store_size, stored_rows
from neurolocal.scale.plan_terms import entries, mean_span, size
from neurolocal.scale.schedule import FAN, Collect, Merge, Schedule
from neurolocal.subject.shape import LayerShape, Product, Shape

BLOCK = BlockRates(
    d_model=8, d_mlp=32, weights=1000, dtype="float32", rows=2, row_length=16, matmul=1e6, attention=1e5,
    elementwise=1e-6, batch_seconds=0.5, kernel=1e-7, insert=1e-6, layer_seconds=1e-3, effects=1e-4, tokenizer=100.0,
)  # fmt: skip
MACHINE = Constants(
    device="a test", source="measured", clock="wall", gpu=False, cores=2, memory=1e12, blocks=(BLOCK,), write=1e6,
    read=2e6, merge=1e6, start_seconds=3.0, base=1e6, llm=1e6,
)  # fmt: skip
LAYER = LayerShape(
    d_mlp=32, active=32, products=(Product(8, 32, 1.0, 1), Product(32, 8, 1.0, 1)), heads=2, d_scores=8, window=None,
    out=256, routed=False,
)  # fmt: skip
SHAPE = Shape("a shape", "Some", 8, 100, 64, False, (LAYER,) * 3, 5000, None)
CONFIG = CollectConfig(row_length=16, batch_size=2, k=2, sites=("post",), sample=8)


def job(rows: int = 40, **more: object) -> Job:
    return Job(SHAPE, CONFIG, rows, **more)


def seconds(made: Plan, name: str) -> float:
    return sum(step.seconds for step in made.steps if name in step.name)


def test_a_forward_pass_by_hand() -> None:
    tokens, pairs = 2 * 16, 2 * 16 * 17 / 2
    block = 2 * 512 * tokens / 1e6 + 2 * 2 * 8 * pairs / 1e5 + tokens * (8 * 8 + 3 * 32) * 1e-6
    assert forward_seconds(job(), BLOCK) == pytest.approx(3 * block - 2 * 256 * tokens / 1e6 + 0.5)


def test_layers_end_the_pass_at_the_deepest_that_is_read() -> None:
    first = dataclasses.replace(job(), config=dataclasses.replace(CONFIG, layers=(0,)))
    assert forward_seconds(first, BLOCK) < forward_seconds(job(), BLOCK) / 2 + 0.5
    assert (first.neurons, job().neurons) == (32, 96)


@pytest.mark.parametrize(("row_length", "window"), [(1, None), (16, None), (16, 4), (16, 16), (16, 99)])
def test_the_mean_span_is_that_of_a_mask(row_length: int, window: int | None) -> None:
    i, j = np.indices((row_length, row_length))
    mask = (j <= i) & (i - j < (window or row_length))
    assert mean_span(row_length, window) == pytest.approx(mask.sum() / row_length)


def test_entries_are_those_of_rows_in_random_order(rng) -> None:
    k, rows = 5, 2000
    entered = []
    for _ in range(60):
        best: list[float] = []
        n = 0
        for x in rng.random(rows):
            if len(best) < k or x > best[0]:
                best = sorted([*best, x])[-k:]
                n += 1
        entered.append(n)
    assert np.mean(entered) == pytest.approx(entries(rows, k), rel=0.1)


def test_rows_named_at_random(rng) -> None:
    drawn = len(np.unique(rng.integers(0, 1000, 1500)))
    assert stored_rows(1500, 1000) == pytest.approx(drawn, rel=0.06)
    assert stored_rows(10**9, 1000) == 1000
    assert stored_rows(10, 10**9) == 10


def test_time_grows_with_the_corpus_and_falls_with_workers() -> None:
    one, two, shared = (plan(x, MACHINE) for x in (job(4000), job(8000), job(8000, workers=2)))
    assert seconds(two, "forward") == pytest.approx(2 * seconds(one, "forward"))
    assert seconds(shared, "forward") == pytest.approx(seconds(one, "forward"))
    assert seconds(one, "merge") == 0 < seconds(shared, "merge")


@pytest.mark.parametrize("shards", [2, 8, 9, 64, 65, 100, 513])
def test_the_merges_are_those_of_the_schedule(shards: int) -> None:
    made, merges = Schedule(attempts=1, slow=9.0), Counter[tuple[int, ...]]()
    for i in range(shards):
        made.add(i, rows=100, last=i == shards - 1)
    while (one := made.next(0.0)) is not None:
        made.begin(0, one, 0.0)
        first, last = (one.shard,) * 2 if isinstance(one, Collect) else (one.parts[0].first, one.parts[-1].last)
        if isinstance(one, Merge):
            merges[tuple(part.last - part.first + 1 for part in one.parts)] += 1
        made.done(0, Part(first, last, "", 1, "", 1), 0.0)
    merges[tuple(part.last - part.first + 1 for part in made.parts)] += 1
    assert merges == {level.parts: level.merges for level in levels(shards, fan=FAN)}


def test_shards_without_the_engine_are_merged_at_once() -> None:
    four, ranges = plan(job(4000, workers=4), MACHINE), plan(job(4000, workers=4, ranges=True), MACHINE)

    def stored(rows: int) -> int:
        return store_size([32] * 3, CONFIG, rows=rows, d_vocab=SHAPE.d_vocab, complete=rows == 4000).total

    shard, whole = stored(1000), stored(4000)
    assert four.traffic[-1].bytes == 4 * shard + whole
    assert seconds(four, "merge") == pytest.approx(4 * shard / MACHINE.merge)
    small, middle = stored(250), stored(2000)
    assert ranges.traffic[-1].bytes == 16 * small + 2 * middle + 2 * middle + whole
    assert seconds(ranges, "merge") == pytest.approx((16 * small / 4 + 2 * middle) / MACHINE.merge)
    assert {one.name for one in four.last_merge} > {"the index", "blocks of rows"}
    assert plan(job(4000), MACHINE).last_merge == ()


def test_every_shard_reads_the_whole_corpus_but_not_every_range() -> None:
    one, shards, ranges = (
        plan(x, MACHINE) for x in (job(4000), job(4000, workers=4), job(4000, workers=4, ranges=True))
    )
    assert seconds(shards, "feed") == pytest.approx(seconds(one, "feed"))
    assert seconds(ranges, "feed") == pytest.approx(seconds(one, "feed") / 4)
    assert any("tokenises the whole corpus" in note for note in shards.notes)
    assert not any("tokenises the whole corpus" in note for note in ranges.notes)


def test_the_feed_of_a_gpu_costs_time_only_where_the_model_waits_for_it() -> None:
    gpu = dataclasses.replace(MACHINE, gpu=True)
    slow = dataclasses.replace(gpu, blocks=(dataclasses.replace(BLOCK, tokenizer=1.0),))
    assert seconds(plan(job(400), dataclasses.replace(gpu, cores=10**6)), "feed") == 0
    assert seconds(plan(job(400), slow), "feed") > 0
    assert plan(job(), gpu).device
    assert not plan(job(), MACHINE).device


def test_too_little_memory_is_said() -> None:
    assert any("a worker needs" in note for note in plan(job(), dataclasses.replace(MACHINE, memory=1e5)).notes)
    assert not any("a worker needs" in note for note in plan(job(), MACHINE).notes)


def test_the_stages_after_the_collection_cost_time_by_what_they_examine() -> None:
    made = plan(job(analysed=2, screen=10, described=3, scored=1, llm_weights=1e6), MACHINE)
    assert {"similarity", "verdict", "perturbation", "summary", "score"} <= {step.name for step in made.steps}
    more = plan(job(analysed=2, screen=20, described=3, scored=1, llm_weights=1e6), MACHINE)
    assert seconds(more, "perturbation") == pytest.approx(2 * seconds(made, "perturbation"))


@pytest.mark.parametrize("name", json.loads(SHAPES.read_text(encoding="utf-8")))
def test_every_shape_with_a_name_can_be_planned(name: str) -> None:
    shape = named_shape(name)
    config = CollectConfig(sites=("post",), dtype="bfloat16", row_length=1024, batch_size=16)
    for machine in ("h100", "a100", "h200"):
        told = facts(one := Job(shape, config, 10**6), read_constants(machine), plan(one, read_constants(machine)))
        numbers = [told[key] for key in ("seconds", "host_bytes", "device_bytes", "store_bytes", "disk_bytes")]
        assert all(math.isfinite(x) and x > 0 for x in numbers)
        assert any("not measured" in note for note in told["notes"])


def test_parameters_of_known_models() -> None:
    """As their makers state them."""
    known = {"gpt2-small": 124_439_808, "llama-3.1-8b": 8_030_261_248, "mixtral-8x7b": 46_702_792_704}
    assert {name: named_shape(name).parameters for name in known} == known


def test_the_text_states_every_figure_and_explains_on_request() -> None:
    made = plan(job(40, workers=2), MACHINE)
    plain, long = (as_text(job(40, workers=2), MACHINE, made, explain=explain) for explain in (False, True))
    assert "collect: forward passes" in plain
    assert "merges" in plain
    assert "batches x" not in plain
    assert "batches x" in long
    assert [duration(x) for x in (3.2, 600, 9000, 4e5)] == ["3.2 s", "10.0 min", "2.5 h", "4.6 days"]
    assert [size(x) for x in (100, 3 << 20, 5 << 30, 2 << 40)] == ["0.1 KiB", "3.00 MiB", "5.00 GiB", "2.00 TiB"]


def test_constants_are_read_as_they_were_written(tmp_path: Path) -> None:
    write_constants(tmp_path / "m.json", MACHINE)
    assert read_constants(str(tmp_path / "m.json")) == MACHINE


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"write": -1}, "negative or no number"),
        ({"write": 0}, "negative or no number"),
        ({"base": "much"}, "could not convert string to float: 'much'"),
        ({"blocks": [{}]}, "d_model"),
        ({"version": 2}, "version 1"),
        ({"start_seconds": float("nan")}, "negative or no number"),
    ],
)
def test_damaged_constants_are_one_line(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    write_constants(path, MACHINE)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ConfigError, match=said):
        read_constants(str(path))


def test_a_machine_that_is_not_there_and_a_dtype_that_was_not_measured(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="h100"):
        read_constants(str(tmp_path / "absent.json"))
    half = dataclasses.replace(job(), config=dataclasses.replace(CONFIG, dtype="bfloat16"))
    with pytest.raises(ConfigError, match="its constants are for float32"):
        plan(half, MACHINE)


def test_the_nearest_block_counts() -> None:
    far = dataclasses.replace(BLOCK, d_model=512, d_mlp=2048, weights=10**6)
    two = dataclasses.replace(MACHINE, blocks=(far, BLOCK))
    asked = {"dtype": "float32", "rows": 2, "row_length": 16}
    assert two.rates(d_model=9, d_mlp=30, weights=900, **asked) is BLOCK
    assert two.rates(d_model=600, d_mlp=2048, weights=2e6, **asked) is far


def run(*arguments: object) -> click.testing.Result:
    from neurolocal.cli.main import cli

    return click.testing.CliRunner().invoke(cli, ["plan", *map(str, arguments)])


def test_the_command_says_json_and_text(tmp_path: Path) -> None:
    write_constants(tmp_path / "m.json", MACHINE)
    common = ("--subject", "gpt2-small", "--machine", tmp_path / "m.json", "--tokens", "1e6")
    told = json.loads(run(*common, "--json").output)
    assert told["corpus"]["rows"] == math.ceil(1e6 / 255)
    assert told["subject"]["neurons"] == 12 * 3072
    assert told["device_hours"] == pytest.approx(told["seconds"] / 3600)
    assert "4 x a test" in run(*common, "--workers", 4).output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--subject", "gpt2-small", "--machine", "h100"), "--tokens"),
        (("--subject", "no such", "--tokens", "1e6", "--machine", "h100"), "llama-3.1-8b"),
        (("--subject", "gpt2-small", "--tokens", "1e6", "--machine", "h100", "--layers", "99"), "layers 0 to 11"),
        (("--subject", "gpt2-small", "--tokens", "1e6", "--machine", "h100", "--sign-cases"), "no gate"),
        (("--subject", "gpt2-small", "--tokens", "1e6", "--machine", "h100", "--dtype", "float16"), "bfloat16"),
    ],
)
def test_a_mistake_is_one_line(arguments: tuple[str, ...], said: str) -> None:
    ended = run(*arguments)
    assert isinstance(ended.exception, NeurolocalError)
    assert said in str(ended.exception)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"k": 5, "row_length": 48, "sign_cases": True, "before": 3, "after": 2},
        {"layers": (1, 3), "sites": ("post", "pre"), "logits": 0, "dedupe": True, "sample": 100},
        {"neurons": tuple(range(40)), "max_rows": 17},
    ],
)
def test_the_size_of_a_store_is_that_of_the_file(settings: dict[str, Any], stories, tmp_path: Path) -> None:
    from neurolocal.collect import resolved
    from neurolocal.pipeline.collect import Collection, collect_store

    config = resolved(CollectConfig(**{"row_length": 32, "max_rows": 60} | settings), stories)
    made = Collection(stories, write_corpus(tmp_path / "c.jsonl", 12), tmp_path / "s.h5", config)
    outcome = collect_store(made, say=lambda line: None, bar=False)
    assert outcome is not None
    predicted = store_size(stories.d_mlp, config, rows=outcome.rows, d_vocab=stories.d_vocab).total
    assert predicted == pytest.approx((tmp_path / "s.h5").stat().st_size, rel=0.05)


@pytest.fixture(scope="module")
def stories(fixtures):
    from neurolocal.subject import load_subject

    return load_subject(fixtures / "stories260k", device="cpu")


@pytest.mark.slow
def test_this_machine_is_measured(fixtures: Path, tmp_path: Path) -> None:
    common = ("--subject", fixtures / "stories260k", "--machine", tmp_path / "m.json")
    ended = run(*common, "--calibrate", "--device", "cpu", "--rows", 100, "--json", "--clock", "cpu")
    assert ended.exit_code == 0, ended.output
    found = read_constants(str(tmp_path / "m.json"))
    assert found.source == "measured"
    assert [one.d_model for one in found.blocks] == [64]
    assert 1e8 < found.base < 4e9
    run(*common, "--calibrate", "--device", "cpu", "--row-length", 64, "--clock", "cpu")
    assert sorted(one.row_length for one in read_constants(str(tmp_path / "m.json")).blocks) == [64, 256]


def test_a_random_model_and_figures_that_are_joined() -> None:
    import torch

    from neurolocal.scale.plan_calibrate import Watch, merged, random_body
    from neurolocal.subject.shape import shape_of

    settings = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2}
    shape = shape_of(
        {
            "model_type": "mixtral",
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "intermediate_size": 24,
            **settings,
        },
        "tiny",
    )
    body, experts = random_body(shape, 3, "float32", torch.device("cpu"))
    assert len(experts) == 3
    assert body(input_ids=torch.zeros((1, 4), dtype=torch.long), use_cache=False)[0].shape == (1, 4, 16)
    assert Watch("cpu", torch.device("cpu")).timed(lambda: sum(range(1000))) > 0
    other = dataclasses.replace(BLOCK, dtype="bfloat16")
    both = merged(dataclasses.replace(MACHINE, blocks=(other, BLOCK)), MACHINE)
    assert [one.dtype for one in both.blocks] == ["float32", "bfloat16"]
