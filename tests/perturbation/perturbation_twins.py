"""Shared by the tests of this room: tiny models, a small trained one with its examples, toy vectors, a slow twin."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from neurolocal.config import PerturbationConfig
from neurolocal.perturbation import InContextPerturbation
from neurolocal.records import Example
from neurolocal.subject.model import Subject
from neurolocal.subject.packed import Packed
from neurolocal.subject.tokenizers import Tokenizer

TEXT = """Once upon a time there was a little girl named Lily. She loved to play outside in the park with her dog.
One day she saw a big red ball near the tree and she was very happy. Her mom said, "Lily, you can have the ball."
Tom and his friend went to the lake to swim. They saw a fish and a frog. The frog was green and the fish was blue.
The sun was hot, so they sat under a tall tree and ate cake. "I like cake," said Tom. "Me too," said his friend.
A small cat was sad because it had no food. A kind boy gave the cat some milk. The cat was glad and ran home fast.
Ben had a toy car. He gave the car to Mia. Mia was nice and they played all day until it was dark and cold."""


VOCAB, D_MLP = 97, 48

CONFIG = PerturbationConfig(examples=4, neighbours=3, controls=3, permutations=99)


def tiny(kind: str, *, seed: int = 0, n_ctx: int = 96, eager: bool = False, **changes) -> Subject:
    """A random two- or three-layer model whose attention matters: weights ten times as wide as usual."""
    import transformers

    wide = {"initializer_range": 0.2, "vocab_size": VOCAB, "max_position_embeddings": n_ctx}
    llama = wide | {"hidden_size": 32, "intermediate_size": D_MLP, "num_hidden_layers": 3, "num_attention_heads": 4}
    gpt = wide | {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_inner": D_MLP}
    settings = {
        "GPT2": gpt | {"n_positions": n_ctx},
        "GPTNeoX": llama,
        "Llama": llama | {"num_key_value_heads": 2},
        "Gemma": llama | {"num_key_value_heads": 1, "head_dim": 8},
        "Gemma2": llama | {"num_key_value_heads": 2, "head_dim": 8, "sliding_window": 8},
        "Mistral": llama | {"num_key_value_heads": 2, "sliding_window": 8},
        "OPT": wide
        | {"hidden_size": 32, "word_embed_proj_dim": 32, "ffn_dim": D_MLP, "num_hidden_layers": 3}
        | {"num_attention_heads": 4, "init_std": 0.2},
        "Bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4, "vocab_size": VOCAB, "initializer_range": 0.2},
        "GPTNeo": wide
        | {"hidden_size": 32, "intermediate_size": D_MLP, "num_layers": 2, "num_heads": 4, "window_size": 8}
        | {"attention_types": [[["global", "local"], 1]]},
    }[kind]
    torch.manual_seed(seed)
    config = getattr(transformers, f"{kind}Config")(**(settings | changes))
    config.architectures = [f"{kind}ForCausalLM" if kind != "GPT2" else "GPT2LMHeadModel"]
    model = transformers.AutoModelForCausalLM.from_config(
        config, attn_implementation="eager" if eager or kind in {"Gemma2", "Bloom", "GPTNeo"} else "sdpa"
    )
    return Subject(model.eval().requires_grad_(False), Tokenizer.numbered(model.config.vocab_size), name=f"tiny {kind}")


def one_by_one(subject: Subject, row, layer: int, branches) -> list[np.ndarray]:
    """The twin: no cache, no mask, no packing."""
    found = []
    for position, tokens, neuron in branches:
        whole = torch.tensor([[*row[:position].tolist(), *tokens]])
        found.append(subject.activations(whole, layer)[0, position:, neuron].float().numpy())
    return found


class ToyVectors:
    """Vectors that find a word as it stands or case-folded, as the similarity room's do."""

    def __init__(self, words: dict[str, np.ndarray]) -> None:
        self.vectors = {w: (v / np.linalg.norm(v)).astype(np.float32) for w, v in words.items()}

    def find(self, word: str, *, fold: bool = True) -> np.ndarray | None:
        found = self.vectors.get(word)
        return self.vectors.get(word.casefold()) if found is None and fold else found

    def neighbours_of(self, words, n: int) -> list[list[tuple[str, float]]]:
        return [self.near(w, n) for w in words]

    def nearest(self, queries, n: int) -> list[list[tuple[str, float]]]:
        found = [sorted(((w, float(v @ q)) for w, v in self.vectors.items()), key=lambda p: -p[1]) for q in queries]
        return [one[:n] for one in found]

    def near(self, word: str, n: int) -> list[tuple[str, float]]:
        own = self.find(word)
        if own is None:
            return []
        others = [(w, float(v @ own)) for w, v in self.vectors.items() if w not in {word, word.casefold()}]
        return sorted(others, key=lambda pair: -pair[1])[:n]


@dataclass
class Small:
    """The subject with a corpus of one row a line of `TEXT`."""

    subject: Any
    rows: dict[int, np.ndarray]
    counts: Counter[Any]

    def examples(self, layer: int, neurons, k: int = 6, sign: int = 1) -> dict[int, list[Example]]:
        """The k strongest positions of different rows, by brute force."""
        values = {
            i: self.subject.activations(torch.from_numpy(row)[None], layer)[0].numpy() for i, row in self.rows.items()
        }
        found = {}
        for n in neurons:
            peaks = []
            for i, row in self.rows.items():
                own = sign * values[i][1:, n]
                at = int(np.argmax(own)) + 1
                window = slice(max(at - 8, 0), min(at + 4, len(row)))
                peaks.append((float(values[i][at, n]), i, at, window, row[window], values[i][window, n]))
            peaks.sort(key=lambda p: -sign * p[0])
            found[n] = [Example(r, i, at, a, w.start, t, v) for r, (a, i, at, w, t, v) in enumerate(peaks[:k])]
        return found


def in_context(small: Small, toy: ToyVectors, **settings) -> InContextPerturbation:
    return InContextPerturbation(
        Packed(small.subject),
        toy,
        rows=small.rows.__getitem__,
        row_index=np.array(sorted(small.rows), np.int64),
        word_counts=small.counts,
        config=replace(CONFIG, **settings),
    )
