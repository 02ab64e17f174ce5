"""A GGUF is read fast, and every number is the one that the `gguf` package and transformers give."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import gguf
import numpy as np
import pytest
import torch
from gguf.quants import _type_traits
from safetensors.torch import load_file

from neurolocal.subject import load_subject
from neurolocal.subject.gguf import dequantised
from neurolocal.subject.gguf_reading import PART, quick_reading

KINDS = sorted(_type_traits, key=int)


@pytest.fixture(scope="module")
def whole(fixtures):
    return fixtures / "stories260k" / "stories260K.gguf"


@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
def test_every_kind_of_quantisation_in_parts(kind, rng) -> None:
    """Random bytes are valid blocks; many of them hold NaN, so bits are compared."""
    numbers, size = gguf.GGML_QUANT_SIZES[kind]
    plain = gguf.dequantize
    for rows, blocks in ((1, 1), (3, 5), (40, 2 * PART // numbers // 33)):
        data = rng.integers(0, 256, (rows, blocks * size), dtype=np.uint8)
        with np.errstate(all="ignore"), quick_reading():
            found = gguf.dequantize(data, kind)
        with np.errstate(all="ignore"):
            true = plain(data, kind)
        assert found.shape == true.shape
        assert np.array_equal(found.view(np.uint32), true.view(np.uint32))
    assert gguf.dequantize is plain


def test_the_config_is_the_slow_readers(whole) -> None:
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    slow = load_gguf_checkpoint(str(whole))
    with quick_reading():
        fast = load_gguf_checkpoint(str(whole))
    assert fast["config"] == slow["config"]
    assert len(fast["tokenizer"]["tokens"]) == len(slow["tokenizer"]["tokens"]) == 512


def test_tensors_lie_where_the_slow_reader_finds_them(whole) -> None:
    slow = gguf.GGUFReader(whole)
    with quick_reading():
        fast = gguf.GGUFReader(whole)
    assert [t.data_offset for t in fast.tensors] == [t.data_offset for t in slow.tensors]
    assert fast.fields.keys() == slow.fields.keys()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_cache_is_in_the_dtype_asked_for_and_exact(dtype, whole, own_cache, rng) -> None:
    narrow, wide = dequantised(whole, "narrow", dtype=dtype), dequantised(whole, "wide")
    found, true = (load_file(folder / "model.safetensors") for folder in (narrow, wide))
    assert found.keys() == true.keys()
    for name, x in true.items():
        assert x.dtype == torch.float32
        assert found[name].dtype == getattr(torch, dtype)
        assert torch.equal(found[name], x.to(getattr(torch, dtype))), name
    mine = load_subject(whole, dtype=dtype, device="cpu")
    folders = {folder.name.partition("-")[2] for folder in (own_cache / "subjects").iterdir()}
    assert folders == {"", dtype}
    del folders
    tokens = torch.from_numpy(rng.integers(0, 512, (2, 20)))
    dequantised(whole, mine.sha256)  # the float32 folder is there now, and is used
    again = load_subject(whole, dtype=dtype, device="cpu")
    assert torch.equal(mine.activations(tokens, 3), again.activations(tokens, 3))


def test_a_model_that_keeps_some_weights_in_float32(whole, own_cache, monkeypatch) -> None:
    """They are not rounded in the cache, either."""
    from transformers import LlamaForCausalLM

    monkeypatch.setattr(LlamaForCausalLM, "_keep_in_fp32_modules_strict", ["norm"])
    folder = dequantised(whole, "kept", dtype="bfloat16")
    assert {x.dtype for x in load_file(folder / "model.safetensors").values()} == {torch.float32}


def test_a_failure_in_a_thread_is_raised() -> None:
    from neurolocal.subject.gguf_reading import in_parts

    def broken(data, kind):
        raise NotImplementedError("no such kind")

    with ThreadPoolExecutor(2) as pool, pytest.raises(NotImplementedError, match="no such kind"):
        in_parts(broken, np.zeros((2, 18), np.uint8), gguf.GGMLQuantizationType.Q4_0, pool)
