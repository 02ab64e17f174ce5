"""200 damaged stores of a real run: each is refused in one line, or everything read from it is what was written."""

import json
import re
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_store_hostile import everything

from neurolocal.config import CollectConfig
from neurolocal.errors import StoreError
from neurolocal.pipeline.collect import Collection, collect_store
from neurolocal.store.check import check

pytestmark = pytest.mark.slow

SECONDS = 120
"""What reading a store of 1 MB may take at most, far above what it takes."""


@pytest.fixture(scope="module")
def stores(fixtures, tmp_path_factory):
    """A complete store and a checkpoint: their bytes and all that they say."""
    from neurolocal.subject import load_subject

    folder, rng = tmp_path_factory.mktemp("damage"), np.random.default_rng(5)
    words = ["cat", "dog", "Lily", "ran", "happy", "the", "ball", "red", "said", "and"]
    lines = [json.dumps({"text": " ".join(rng.choice(words, 40))}) for _ in range(16)]
    (folder / "c.jsonl").write_text("\n".join(lines))
    subject = load_subject(str(fixtures / "stories260k"))
    config = CollectConfig(
        row_length=24, k=3, before=4, after=2, batch_size=4, layers=(1, 3), sample=9, sites=("post", "pre"),
        sign_cases=True, neurons=tuple(range(0, 60, 5)),
    )  # fmt: skip
    found = []
    for name, stop in (("complete", lambda: False), ("checkpoint", iter([False, False, True]).__next__)):
        job = Collection(subject, folder / "c.jsonl", folder / f"{name}.h5", config)
        collect_store(job, say=lambda line: None, stop=stop, bar=False)
        wanted = everything(job.store)
        assert wanted[0]["complete"] is (name == "complete")
        assert bool(dict(wanted[6])) is (name == "checkpoint")
        found.append((job.store.read_bytes(), wanted))
    return found


def outcome(path: Path, content: bytes, wanted: list[Any]) -> str:
    """`refused` or `equal`; anything else fails."""
    path.write_bytes(content)
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refusal, said = "", None
    try:
        said = everything(path)
    except StoreError as error:
        refusal = str(error)
    assert time.monotonic() - began < SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024
    if said is None:
        assert str(path) in refusal
        assert "\n" not in refusal
        assert "again" in refusal
        return "refused"
    assert said == wanted
    return "equal"


def test_cut_or_flipped_at_random_a_store_never_lies(stores, tmp_path, rng):
    outcomes: dict[str, int] = {}
    for i in range(200):
        content, wanted = stores[i % 2]
        damaged, kind = bytearray(content), ("cut", "bit", "bits", "header")[i // 2 % 4]
        if kind == "cut":
            damaged = damaged[: int(rng.integers(len(content)))]
        else:
            top = 8192 if kind == "header" else len(content)
            for at in rng.integers(top, size=1 if kind != "bits" else 8):
                damaged[at] ^= 1 << int(rng.integers(8))
        found = outcome(tmp_path / "a.h5", bytes(damaged), wanted)
        outcomes[f"{kind} {found}"] = outcomes.get(f"{kind} {found}", 0) + 1
    assert outcomes["cut refused"] == 50
    assert outcomes["bit refused"] + outcomes["bits refused"] > 40, outcomes


def test_a_flipped_bit_in_what_strings_say(stores, tmp_path, rng):
    """HDF5 itself has no checksum there."""
    content, wanted = stores[0]
    places = [m.start() for m in re.finditer(rb'"(rows|config|seed|sha256|before|k)":', content)]
    assert len(places) > 5
    for _ in range(40):
        at = places[rng.integers(len(places))] + int(rng.integers(0, 30))
        damaged = bytearray(content)
        damaged[at] ^= 1 << int(rng.integers(8))
        assert outcome(tmp_path / "a.h5", bytes(damaged), wanted) == "refused"


def test_check_of_a_damaged_store_never_breaks(stores, tmp_path, rng):
    path, found = tmp_path / "a.h5", 0
    for i in range(40):
        damaged = bytearray(stores[i % 2][0])
        damaged[int(rng.integers(len(damaged)))] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            report = check(path, progress=False)
        except StoreError:
            found += 1
            continue
        found += bool(report.faults)
        assert all("\n" not in str(fault) for fault in report.faults)
        if not report.faults:
            assert everything(path) == stores[i % 2][1]
    assert found > 15


def test_a_full_disk_leaves_the_checkpoint_and_the_run_goes_on(fixtures, tmp_path):
    """Where the last write fails, what was there is whole, and the same command ends as if nothing had been."""
    from neurolocal.subject import load_subject

    subject, config = (
        load_subject(str(fixtures / "stories260k")),
        CollectConfig(row_length=16, k=3, layers=(2,), sample=9),
    )
    lines = [json.dumps({"text": f"The cat {i} sat on the mat and the dog ran."}) for i in range(60)]
    (tmp_path / "c.jsonl").write_text("\n".join(lines))
    jobs = [Collection(subject, tmp_path / "c.jsonl", tmp_path / name, config) for name in ("full.h5", "whole.h5")]
    collect_store(jobs[0], say=lambda line: None, stop=lambda: True, bar=False)
    before, old = jobs[0].store.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, old[1]))
    try:
        with pytest.raises(StoreError, match=r"writing .*full\.h5: .*untouched\. Free disk space") as caught:
            collect_store(jobs[0], say=lambda line: None, stop=lambda: False, bar=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert "\n" not in str(caught.value)
    assert jobs[0].store.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir() if p.suffix != ".lock") == ["c.jsonl", "full.h5"]
    for job in jobs:
        collect_store(job, say=lambda line: None, stop=lambda: False, bar=False)
    assert everything(jobs[0].store) == everything(jobs[1].store)
