"""Where weights and lists are does not change a store: blocks on the disk, lists away from their activations."""

import dataclasses
import subprocess
import sys

import pytest
import torch
from small_collection import CONFIG, content, run

from neurolocal.collect.loop import LISTS, away, on_host, start
from neurolocal.collect.memory import device_bytes
from neurolocal.collect.state import LayerState
from neurolocal.config import CollectConfig
from neurolocal.pipeline.collect import Collection, collect_store
from neurolocal.subject import load_subject


def test_blocks_on_the_disk_give_the_same_store(fixtures, subject, corpus, whole, tmp_path, monkeypatch):
    size = sum(part.nbytes for part in subject.model.parameters())
    monkeypatch.setattr("neurolocal.subject.placement.free_bytes", lambda: int(size / 0.6 * 0.8))
    away = load_subject(str(fixtures / "stories260k"), device="auto")
    said: list[str] = []
    run(away, corpus, tmp_path / "s.h5", said=said)
    assert any("read again for every batch" in line for line in said)
    assert content(tmp_path / "s.h5") == whole[1]


class Elsewhere(torch.Tensor):
    """A tensor on the CPU that says it is on a GPU until it is moved."""

    @property
    def device(self):
        return torch.device("cuda", 0)

    def to(self, device):
        assert device == torch.device("cpu")
        return self.as_subclass(torch.Tensor)


def test_lists_on_the_host_give_the_same_store(subject, corpus, whole, tmp_path, monkeypatch):
    """The activations say that they are on a GPU, and have to be moved before the lists see them."""
    read, moved = type(subject).read, []

    def elsewhere(self, tokens, readers, **more):
        def wrapped(reader):
            def see(*x):
                moved.append(len(x))
                reader(*[one.as_subclass(Elsewhere) for one in x])

            return see

        read(self, tokens, {layer: wrapped(reader) for layer, reader in readers.items()}, **more)

    monkeypatch.setattr(type(subject), "read", elsewhere)
    job = Collection(subject, corpus, tmp_path / "s.h5", CollectConfig(**CONFIG), "host")
    collect_store(job, say=print, bar=False)
    assert moved
    assert content(tmp_path / "s.h5") == whole[1]


def test_lists_fill_each_device_and_then_the_host(subject, monkeypatch):
    """Five layers of one width, three on the first device and two on the second."""
    monkeypatch.setattr(type(subject), "device_of", lambda self, layer: torch.device("cuda", layer // 3))
    config, width = CollectConfig(sites=("post",), k=3), subject.d_mlp[0]
    assert subject.d_mlp == [width] * 5
    room = {0: device_bytes([width] * 2, config) / LISTS, 1: device_bytes([width] * 9, config)}
    assert on_host(subject, config, "auto", free=lambda device: int(room[device.index]) + 9) == {2}
    assert on_host(subject, config, "auto", free=lambda device: 0) == set(range(5))
    assert on_host(subject, config, "auto", free=lambda device: None) == set()
    assert on_host(subject, config, "device", free=lambda device: 0) == set()
    chosen = dataclasses.replace(config, layers=(1, 4))
    assert on_host(subject, chosen, "host", free=lambda device: None) == {1, 4}


def test_which_lists_are_away_is_known(subject, monkeypatch):
    config = CollectConfig(**CONFIG, sites=("post",))
    progress = start(subject, config, lists="host")
    assert all(isinstance(state, LayerState) for state in progress.states.values())
    assert away(subject, progress) == []
    monkeypatch.setattr(type(subject), "device_of", lambda self, layer: torch.device("cuda", 0))
    assert away(subject, progress) == list(CONFIG["layers"])


LIMITED = """
import json, resource, sys
from pathlib import Path
import torch, transformers
from neurolocal.config import CollectConfig
from neurolocal.errors import SubjectError
from neurolocal.machine import free_bytes
from neurolocal.pipeline.collect import Collection, collect_store
from neurolocal.subject import load_subject
model, corpus, store, limit = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
torch.set_num_threads(1)
load_subject(sys.argv[5])
status = Path("/proc/self/status").read_text().splitlines()
data = 1024 * next(int(line.split()[1]) for line in status if line.startswith("VmData"))
if limit:
    resource.setrlimit(resource.RLIMIT_DATA, (data + limit,) * 2)
    assert free_bytes() <= limit
    try:
        load_subject(model)
    except SubjectError as error:
        print(error)
subject = load_subject(model, device="auto" if limit else None)
settings = CollectConfig(row_length=16, batch_size=4, k=2, sample=8, logits=0, layers=(0, 5), neurons=(0, 1, 7))
collect_store(Collection(subject, corpus, store, settings), say=print, bar=False)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits of data are Linux's")
def test_weights_larger_than_the_memory_allowed(fixtures, corpus, tmp_path):
    """300 MB of weights in a process that may take 220 MB more: refused without `auto`, the same store with it."""
    import shutil

    import transformers

    folder = tmp_path / "model"
    config = transformers.LlamaConfig(
        hidden_size=512, intermediate_size=7200, num_hidden_layers=6, num_attention_heads=4, vocab_size=512
    )
    torch.manual_seed(0)
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    for path in (fixtures / "stories260k").iterdir():
        if path.name.startswith(("tokenizer", "special_tokens")):
            shutil.copyfile(path, folder / path.name)
    said = []
    for limit in (0, 220 << 20):
        arguments = [str(folder), str(corpus), str(tmp_path / f"{limit}.h5"), str(limit), str(fixtures / "stories260k")]
        done = subprocess.run([sys.executable, "-c", LIMITED, *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        said.append(done.stdout)
    assert "read again for every batch" not in said[0]
    assert "`--device auto` leaves on the disk what does not fit" in said[1]
    assert "read again for every batch" in said[1]
    assert content(tmp_path / "0.h5") == content(tmp_path / f"{220 << 20}.h5")
