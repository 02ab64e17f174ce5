"""What tests of the replay share: models on disk, and pages of them that were made under any hypothesis."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from click.testing import CliRunner
from page_twins import page_html
from small_run import TEXT

from neurolocal.cli.main import cli
from neurolocal.neuroscope.imports.from_pages import import_pages
from neurolocal.neuroscope.replay.job import ReplayJob, run
from neurolocal.neuroscope.replay.replay_result import ReplayResult
from neurolocal.store import Store

sys.path.append(str(Path(__file__).parents[1] / "subject"))
from legacy_twins import CONFIG, random_weights, write_legacy

LENGTH = 48
"""Tokens a row."""


def solu_folder(folder: Path, stories: Path, *, seed: int, act_fn: str = "solu_ln") -> Path:
    """A random SoLU (or other) model in TransformerLens's own checkpoint format."""
    config = CONFIG | {"act_fn": act_fn}
    return write_legacy(folder, config, random_weights(config, seed=seed), tokenizer_from=stories)


def neox_folder(folder: Path, stories: Path, *, seed: int) -> Path:
    """A random GPT-NeoX model in Hugging Face's format."""
    import transformers

    torch.manual_seed(seed)
    config = transformers.GPTNeoXConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, vocab_size=512,
        max_position_embeddings=64, initializer_range=0.2, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    config.architectures = ["GPTNeoXForCausalLM"]
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((stories / name).read_bytes())
    return folder


def rows_of(subject: Any, n: int = 8) -> np.ndarray:
    """Rows of text with BOS, in token ids; every token's string has one reading in its text."""
    ids = subject.encode([TEXT * 6])[0]
    step = LENGTH - 1
    return np.array([[subject.bos, *ids[i * step : (i + 1) * step]] for i in range(n)], np.int64)


def activations(subject: Any, rows: np.ndarray, layer: int, site: str, *, autocast: bool = False) -> np.ndarray:
    """(row, pos, neuron), float32."""
    tokens = torch.from_numpy(rows)
    if autocast:
        with torch.autocast("cpu", torch.bfloat16):
            return subject.activations(tokens, layer, site).float().numpy()
    return subject.activations(tokens, layer, site).float().numpy()


def write_pages(
    folder: Path, subject: Any, rows: np.ndarray, of_layer: dict[int, np.ndarray], *, model: str, neurons: int = 6,
    first: int = 0,
) -> Path:  # fmt: skip
    """Pages in the site's own form: `rows` as shown, the activations as given, positions from `first` on."""
    strings = [subject.vocabulary.str_tokens(row) for row in rows]
    for layer, values in of_layer.items():
        for neuron in range(neurons):
            order = np.argsort(-values[:, :, neuron].max(axis=1))
            texts: list[dict[str, Any]] = [
                {
                    "index": 100 + int(i),
                    "tokens": strings[i][first:],
                    "values": [round(float(v), 6) for v in values[i, :, neuron]],
                }
                for i in order
            ]
            page = {"model": model, "dataset": "pile", "layer": layer, "neuron": neuron, "texts": texts}
            path = folder / model / str(layer) / f"{neuron}.html"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(page_html(page), encoding="utf-8")
    return folder


def gpt2_folder(folder: Path, stories: Path, *, seed: int) -> Path:
    """A random GPT-2 in Hugging Face's format."""
    import transformers

    torch.manual_seed(seed)
    config = transformers.GPT2Config(
        n_embd=32, n_inner=64, n_layer=2, n_head=4, vocab_size=512, n_positions=64, initializer_range=0.2,
        bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    config.architectures = ["GPT2LMHeadModel"]
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((stories / name).read_bytes())
    return folder


def seed(rng) -> int:
    return int(rng.integers(2**31))


def replayed(folder: Path, subject: Path, *, site=None, others=(), dtype=None, texts=None) -> ReplayResult:
    store = folder / "pages.h5"
    found = import_pages([folder / "pages"], store, site=site, say=lambda line: None, bar=False)
    assert not found.problems
    with Store(store) as opened:
        job = ReplayJob(opened, subject=str(subject), dtype=dtype)
        return run(job, texts=texts, others=others, say=lambda line: None, bar=False)


def run_command(*arguments: object, cwd: Path) -> str:
    """What a command prints, run in this process."""
    with contextlib.chdir(cwd):
        ended = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert ended.exit_code == 0, f"{arguments}: {ended.exception!r} {ended.output[-800:]}"
    return ended.stdout


def changed_stories(folder: Path, stories: Path, change: Any) -> Path:
    """A copy of stories260k whose weights were changed in place by `change(weights)`."""
    from safetensors.torch import load_file, save_file

    folder.mkdir(parents=True)
    for file in stories.iterdir():
        if file.suffix == ".json":
            (folder / file.name).write_bytes(file.read_bytes())
    weights = load_file(stories / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def noise(share: float, rng: np.random.Generator, *, only: str = "") -> Any:
    """Multiplies every matrix whose name contains `only` by 1 + noise of this standard deviation."""
    generator = torch.Generator().manual_seed(seed(rng))

    def change(weights: dict[str, torch.Tensor]) -> None:
        for name, one in weights.items():
            if one.ndim == 2 and only in name:
                one *= 1 + share * torch.randn(one.shape, generator=generator)

    return change


def swapped_neurons(layer: int, a: int, b: int) -> Any:
    """Two neurons of an MLP change places: the model computes the same, its neurons have other numbers."""

    def change(weights: dict[str, torch.Tensor]) -> None:
        for name, one in weights.items():
            if f"layers.{layer}.mlp." in name:
                dim = 1 if "down_proj" in name else 0
                order = list(range(one.shape[dim]))
                order[a], order[b] = b, a
                weights[name] = one.index_select(dim, torch.tensor(order)).contiguous()

    return change


@contextlib.contextmanager
def another_machine() -> Generator[None, None, None]:
    """Linear layers in bfloat16 add in float64 and round once: what kernels of another machine may do."""
    own = torch.nn.functional.linear

    def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        if x.dtype != torch.bfloat16 and not torch.is_autocast_enabled("cpu"):
            return own(x, weight, bias)
        low = [one.to(torch.bfloat16).double() for one in (x, weight, *([] if bias is None else [bias]))]
        with torch.autocast("cpu", enabled=False):
            return (low[0] @ low[1].T + (low[2] if bias is not None else 0)).to(torch.bfloat16)

    torch.nn.functional.linear = linear
    try:
        yield
    finally:
        torch.nn.functional.linear = own
