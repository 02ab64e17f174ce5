"""Where weights and lists are does not change a store: blocks on the disk, lists away from their activations."""

import dataclasses

import torch
from small_collection import CONFIG, content, run

from neurolocal.collect.empty import LISTS, away, on_host, start
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
    def device(self):  # pyright: ignore[reportIncompatibleVariableOverride, reportIncompatibleMethodOverride]
        return torch.device("cuda", 0)

    def to(self, device):  # pyright: ignore[reportIncompatibleMethodOverride]
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
