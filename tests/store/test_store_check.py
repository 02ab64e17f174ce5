"""A store that the pipeline made has no fault, with any settings; a flipped bit is found, unknown groups are listed."""

import json
from typing import Any

import h5py
import numpy as np
import pytest
from check_twins import settings

from neurolocal.errors import StoreError
from neurolocal.store.check import check


def test_a_good_store_has_no_fault(stories):
    report = check(stories, progress=False)
    assert report.faults == ()
    assert report.notes == ()
    looked = report.looked_at
    assert looked["layers"] == 4
    assert looked["lists"] == 172 * (2 * 6 + 2 * 2)
    assert looked["examples"] > 172 * 2 * 4 * 4
    assert looked["sampled activations"] == 4 * 172 * 20
    assert looked["evidence tables"] == 2
    assert looked["bytes"] > 0.7 * stories.stat().st_size
    assert looked["rows"] > 5
    with h5py.File(stories) as file:
        found: list[str] = []
        file.visititems(lambda name, place: found.append(name) if isinstance(place, h5py.Dataset) else None)
    assert looked["datasets"] == len(found)


CONVENTIONS: dict[str, dict[str, Any]] = {
    "documents": {"packing": "document", "sites": ("pre", "pre_linear")},
    "documents without BOS": {"packing": "document", "bos": "none", "sign_cases": True},
    "BOS counts": {"count_bos": True, "dtype": "bfloat16", "sign_cases": True},
    "no special tokens": {"skip_special": True, "row_length": 40, "k": 9},
    "BOS counts, no special tokens": {
        "count_bos": True,
        "skip_special": True,
        "neurons": (3, 4, 90),
        "dtype": "float16",
    },
    "a long list": {"k": 50, "sample": 0, "before": 0, "after": 0, "max_rows": 9},
}


@pytest.mark.parametrize("kind", CONVENTIONS)
@pytest.mark.parametrize("odd", [False, True])
def test_no_convention_makes_a_fault(fixtures, tmp_path, rng, kind, odd):
    """Whatever is collected, at the end and at a checkpoint, also where activations are NaN or infinite."""
    from neurolocal.config import CollectConfig
    from neurolocal.pipeline.collect import Collection, collect_store
    from neurolocal.subject import load_subject

    config = CollectConfig(
        **({"row_length": 16, "k": 3, "layers": (0, 2), "sample": 30, "logits": 0} | CONVENTIONS[kind])
    )
    subject = load_subject(str(fixtures / "stories260k"), dtype=config.dtype)
    if odd:
        read = subject.read

        def spoiled(tokens, readers, **more):
            def spoil(reader):
                def see(*xs):
                    xs = tuple(x.clone() for x in xs)
                    for x in xs:
                        x[:, 3::5, 3] = float("nan")
                        x[:, 2::3, 4] = float("inf")
                        x[:, :, 90] = float("nan")
                    reader(*xs)

                return see

            read(tokens, {layer: spoil(reader) for layer, reader in readers.items()}, **more)

        subject.read = spoiled
    words = ["cat", "dog", "Lily", "ran", "happy", "the", "ball"]
    lines = [json.dumps({"text": " ".join(rng.choice(words, int(rng.integers(1, 40))))}) for _ in range(40)]
    (tmp_path / "c.jsonl").write_text("\n".join(lines))
    job = Collection(subject, tmp_path / "c.jsonl", tmp_path / "s.h5", config)
    for stop in (iter([True]).__next__, lambda: False):
        collect_store(job, say=lambda line: None, stop=stop, bar=False)
        report = check(job.store, progress=False)
        assert [str(fault) for fault in report.faults] == []


def test_a_flipped_bit_is_found_wherever_a_dataset_holds_it(copy, rng):
    with h5py.File(copy) as opened:
        file: Any = opened
        names: list[str] = []
        file.visititems(
            lambda name, place: names.append(name)
            if isinstance(place, h5py.Dataset) and place.chunks is not None else None
        )  # fmt: skip
        name = names[rng.integers(len(names))]
        chunk = file[name].id.get_chunk_info(0)
    content = bytearray(copy.read_bytes())
    content[chunk.byte_offset + int(rng.integers(chunk.size))] ^= 1 << int(rng.integers(8))
    copy.write_bytes(bytes(content))
    report = check(copy, progress=False)
    assert any(f.place.startswith(name.removesuffix("/bytes").removesuffix("/offsets")) for f in report.faults), name
    assert any("cannot be read" in fault.found for fault in report.faults)


def test_what_is_unknown_and_a_checkpoint_are_said(copy):
    with h5py.File(copy, "r+") as file:
        file["other/x"] = np.arange(3)
        settings(file, "", complete=False)
    report = check(copy, progress=False)
    assert report.faults == ()
    assert len(report.notes) == 2
    assert report.notes[0] == "unknown group /other"
    assert report.notes[1].startswith("a checkpoint: its collection stopped at row ")


def test_nothing_to_check(tmp_path):
    with pytest.raises(StoreError, match="no such file"):
        check(tmp_path / "a.h5")
