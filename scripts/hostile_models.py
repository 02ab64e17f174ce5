"""Hostile and broken models, tokenizers, stores and settings: each is made in a folder, with a command that meets it.

`INPUTS` names them; `hostile.py` runs each command under limits of time and memory. Every command must end with 0, 1 or
2 and one line for the user. The inputs start from a language model of two layers with random weights, and from a store
that is collected with it once.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 64, "hidden_size": 16,
    "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2,
    "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "tie_word_embeddings": False, "hidden_act": "silu",
    "bos_token_id": 0, "eos_token_id": 1,
}  # fmt: skip
"""A language model of two layers."""

WORDS = ["<s>", "</s>", "<unk>", *(f"w{a}{b}" for a in "abcdefgh" for b in "abcdefgh")][:64]
"""Its vocabulary."""

TEXT = " ".join(WORDS[3 + i * i % 61] for i in range(300))
"""A document."""


def model(folder: Path, **config: Any) -> Path:
    """A whole model folder of random weights; `config` changes what its config.json says, not the weights."""
    from safetensors.numpy import save_file

    path, rng, c = folder / "model", np.random.default_rng(0), CONFIG
    path.mkdir(parents=True)
    d, m, v = c["hidden_size"], c["intermediate_size"], c["vocab_size"]
    shapes = {"model.embed_tokens": (v, d), "lm_head": (v, d), "model.norm": (d,)}
    for layer in range(c["num_hidden_layers"]):
        base = f"model.layers.{layer}"
        shapes |= {f"{base}.self_attn.{name}_proj": (d, d) for name in "qkvo"}
        shapes |= {f"{base}.mlp.{name}_proj": (m, d) for name in ("gate", "up")} | {f"{base}.mlp.down_proj": (d, m)}
        shapes |= {f"{base}.{name}_layernorm": (d,) for name in ("input", "post_attention")}
    weights = {
        f"{name}.weight": (np.ones(shape) if len(shape) == 1 else rng.normal(size=shape) / 4).astype(np.float32)
        for name, shape in shapes.items()
    }
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
    (path / "config.json").write_text(json.dumps(CONFIG | config))
    tokenizer(path)
    return path


def tokenizer(path: Path, **parts: Any) -> None:
    """Write a tokenizer.json of whole words; `parts` replace its own."""
    whole: dict[str, Any] = {
        "version": "1.0", "truncation": None, "padding": None, "normalizer": None, "post_processor": None,
        "decoder": None, "added_tokens": [], "pre_tokenizer": {"type": "WhitespaceSplit"},
        "model": {"type": "WordLevel", "vocab": {w: i for i, w in enumerate(WORDS)}, "unk_token": "<unk>"},
    }  # fmt: skip
    (path / "tokenizer.json").write_text(json.dumps(whole | parts))
    (path / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": "</s>"}))


def corpus(folder: Path, text: str = TEXT) -> Path:
    """A file of five documents."""
    path = folder / "corpus.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for _ in range(5)))
    return path


def collect(folder: Path, subject: Any, *more: str, text: str = TEXT) -> list[str]:
    """The arguments of a collection from a model."""
    return [
        *("collect", "--subject", str(subject), "--corpus", str(corpus(folder, text))),
        *("--store", str(folder / "out.h5"), "--row-length", "32", *more),
    ]


@functools.cache
def good_store() -> Path:
    """A whole store with verdicts, made once a process."""
    from neurolocal.config import CollectConfig
    from neurolocal.pipeline.collect import Collection, collect_store
    from neurolocal.pipeline.stages import run_stage
    from neurolocal.pipeline.workspace import Workspace
    from neurolocal.subject import load_subject

    folder = Path(tempfile.mkdtemp(prefix="hostile-"))
    config = CollectConfig(row_length=32, k=4, sample=64, logits=3)
    job = Collection(load_subject(model(folder), device="cpu"), corpus(folder), folder / "store.h5", config)
    collect_store(job, say=lambda line: None, bar=False)
    vectors = folder / "vectors.txt"
    rng = np.random.default_rng(0)
    vectors.write_text("".join(f"{w} {' '.join(f'{x:.3f}' for x in rng.normal(size=8))}\n" for w in WORDS))
    workspace = Workspace(job.store, vectors=str(vectors), say=lambda line: None, bar=False)
    for stage in ("similarity", "verdict"):
        run_stage(stage, workspace)
    workspace.reload()
    return job.store


def store(folder: Path) -> Path:
    """A copy of the good store."""
    return Path(shutil.copy(good_store(), folder / "store.h5"))


# What is in a model's folder


def _linked(target: str) -> Callable[[Path], list[str]]:
    def make(folder: Path) -> list[str]:
        weights = model(folder) / "model.safetensors"
        weights.unlink()
        weights.symlink_to(target)
        return collect(folder, weights.parent)

    return make


def _pipe(folder: Path) -> list[str]:
    path = model(folder)
    (path / "model.safetensors").unlink()
    os.mkfifo(path / "model.safetensors")
    return collect(folder, path)


def _folder_as_weights(folder: Path) -> list[str]:
    path = model(folder)
    (path / "model.safetensors").unlink()
    (path / "model.safetensors").mkdir()
    return collect(folder, path)


def _tokenizer_file(name: str, target: str) -> Callable[[Path], list[str]]:
    """A file beside the weights that is a pipe, or a link."""

    def make(folder: Path) -> list[str]:
        path = model(folder)
        (path / name).unlink(missing_ok=True)
        if target == "pipe":
            os.mkfifo(path / name)
        else:
            (path / name).symlink_to(target)
        return collect(folder, path)

    return make


def _index_outside(folder: Path) -> list[str]:
    path = model(folder)
    shutil.move(path / "model.safetensors", folder / "outside.safetensors")
    names = {"model.norm.weight": "../outside.safetensors"}
    (path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    return collect(folder, path)


def _shard_linked_outside(folder: Path) -> list[str]:
    """The folder of a shard is a link that leads outside."""
    path = model(folder)
    (folder / "secret").mkdir()
    shutil.move(path / "model.safetensors", folder / "secret" / "a.safetensors")
    (path / "shards").symlink_to(folder / "secret")
    names = {"model.norm.weight": "shards/a.safetensors"}
    (path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    return collect(folder, path)


def _config(**settings: Any) -> Callable[[Path], list[str]]:
    return lambda folder: collect(folder, model(folder, **settings))


def _deep_config(folder: Path) -> list[str]:
    path = model(folder)
    (path / "config.json").write_text('{"model_type": "llama", "a": ' + "[" * 5000 + "]" * 5000 + "}")
    return collect(folder, path)


# Tokenizers


def _tokenizer(text: str = TEXT, **parts: Any) -> Callable[[Path], list[str]]:
    def make(folder: Path) -> list[str]:
        path = model(folder)
        tokenizer(path, **parts)
        return collect(folder, path, text=text)

    return make


def _added(content: str, i: int) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": i, "content": content, "special": True} | flags


def _word_ids(i: int) -> dict[str, Any]:
    vocabulary = {w: n for n, w in enumerate(WORDS)} | {WORDS[-1]: i}
    return {"model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"}}


def _broken_map(folder: Path) -> list[str]:
    path = model(folder)
    tokenizer(path, normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA////AAAAABCDEFG="})
    return collect(folder, path)


SLOW = {"type": "Split", "pattern": {"Regex": "(x+x+)+y"}, "behavior": "Isolated", "invert": False}
"""Takes time that doubles with each further x."""


def _deep_tokenizer(folder: Path) -> list[str]:
    path = model(folder)
    (path / "tokenizer.json").write_text('{"added_tokens": ' + "[" * 50_000 + "]" * 50_000 + "}")
    return collect(folder, path)


# Chat templates


def _template(text: str) -> Callable[[Path], list[str]]:
    """A corpus of conversations, with a model whose chat template is this one."""

    def make(folder: Path) -> list[str]:
        path = model(folder)
        (path / "chat_template.jinja").write_text(text)
        arguments = collect(folder, path)
        messages = [{"role": "user", "content": TEXT}, {"role": "assistant", "content": TEXT}]
        (folder / "corpus.jsonl").write_text("".join(json.dumps({"messages": messages}) + "\n" for _ in range(5)))
        return arguments

    return make


# Settings


def _settings(*more: str) -> Callable[[Path], list[str]]:
    return lambda folder: collect(folder, model(folder), *more)


def _run(text: str) -> Callable[[Path], list[str]]:
    """A RUN.toml; {model} and {corpus} are replaced."""

    def make(folder: Path) -> list[str]:
        named = text.replace("{model}", str(model(folder))).replace("{corpus}", str(corpus(folder)))
        (folder / "RUN.toml").write_text(named)
        return ["run", str(folder / "RUN.toml")]

    return make


RUN = '[run]\nsubject = "{model}"\ncorpus = "{corpus}"\nstore = "out.h5"\nvectors = "corpus"\n'
"""A good run."""

LONG = "a/" * 2500
"""A path of 5,000 characters."""


def _read_only(folder: Path) -> list[str]:
    """A store in a folder that is no folder."""
    (folder / "file").write_text("")
    return [*collect(folder, model(folder)), "--store", str(folder / "file" / "out.h5")]


# Stores


def _changed(change: Callable[[Any], None], *arguments: str) -> Callable[[Path], list[str]]:
    """A store that something was changed in, and a command that reads it (default: check)."""

    def make(folder: Path) -> list[str]:
        import h5py

        path = store(folder)
        with h5py.File(path, "r+") as file:
            change(file)
        command, *rest = arguments or ("check",)
        return [command, str(path), *rest]

    return make


def put(file: Any, name: str, values: Any, **how: Any) -> None:
    """Put other values in a dataset's place."""
    with contextlib.suppress(KeyError):
        del file[name]
    file.create_dataset(name, data=values, **how)


def _column(name: str, value: Any) -> Callable[[Any], None]:
    """Every entry of a column becomes one value."""

    def change(file: Any) -> None:
        values = file[name][()]
        values[...] = value
        put(file, name, values)

    return change


def _manifest(change: Callable[[dict[str, Any]], None]) -> Callable[[Any], None]:
    def apply(file: Any) -> None:
        from neurolocal.store import write

        manifest = json.loads(str(file.attrs["manifest"]))
        change(manifest)
        write.put_json(file, "manifest", manifest)

    return apply


def _manifest_text(old: str, new: str) -> Callable[[Any], None]:
    """Text of the manifest replaced, its SHA-256 too."""

    def apply(file: Any) -> None:
        import hashlib

        text = str(file.attrs["manifest"]).replace(old, new, 1)
        file.attrs["manifest"], file.attrs["manifest_sha256"] = text, hashlib.sha256(text.encode()).hexdigest()

    return apply


def _huge_chunk(file: Any) -> None:
    """A chunk of 2 GB around a small data set, packed piece by piece."""
    values = file["corpus/token_count"][()]
    packer, piece, size = zlib.compressobj(1), bytes(1 << 24), 8 << 28
    packed = packer.compress(values.tobytes() + bytes(len(piece) - values.nbytes))
    packed += b"".join(packer.compress(piece) for _ in range(size // len(piece) - 1)) + packer.flush()
    del file["corpus/token_count"]
    place = file.create_dataset(
        "corpus/token_count", values.shape, values.dtype, chunks=(size // 8,), maxshape=(None,), compression="gzip"
    )
    place.id.write_direct_chunk((0,), packed)


def _texts(name: str, text: str) -> Callable[[Any], None]:
    """Every string of a column becomes this one."""

    def change(file: Any) -> None:
        n, data = len(file[f"{name}/index"]), np.frombuffer(text.encode(), np.uint8)
        put(file, f"{name}/bytes", data)
        put(file, f"{name}/offsets", np.array([0, len(data)], np.int64))
        put(file, f"{name}/index", np.zeros(n, np.uint32))

    return change


VERDICTS, SIMILARITY = "verdict/post/0/largest", "similarity/post/0/largest"

INPUTS: dict[str, Callable[[Path], list[str]]] = {
    "weights are a dangling link": _linked("/no/such/file"),
    "weights are a link to a device": _linked("/dev/zero"),
    "weights are a pipe": _pipe,
    "weights are a folder": _folder_as_weights,
    "the tokenizer is a pipe": _tokenizer_file("tokenizer.json", "pipe"),
    "the tokenizer is a link to a device": _tokenizer_file("tokenizer.json", "/dev/zero"),
    "tokenizer_config.json is a link to a device": _tokenizer_file("tokenizer_config.json", "/dev/zero"),
    "the chat template is a pipe": _tokenizer_file("chat_template.jinja", "pipe"),
    "generation_config.json is a pipe": _tokenizer_file("generation_config.json", "pipe"),
    "the index of shards leads outside": _index_outside,
    "a shard's folder is a link that leads outside": _shard_linked_outside,
    "a config nested deep": _deep_config,
    "zero layers": _config(num_hidden_layers=0),
    "ten million layers": _config(num_hidden_layers=10**7),
    "a vocabulary of 10^12": _config(vocab_size=10**12),
    "a number of layers with 4,000 digits": _config(num_hidden_layers=int("9" * 4000)),
    "a token id of 10^9": _tokenizer(**_word_ids(10**9)),
    "a token id of 2^32 - 1": _tokenizer(**_word_ids(2**32 - 1)),
    "a token id below 0": _tokenizer(**_word_ids(-1)),
    "an added token beyond the vocabulary": _tokenizer(added_tokens=[_added("<far>", 10**9)]),
    "an added token of 10^30": _tokenizer(added_tokens=[_added("<far>", 10**30)]),
    "an added token without an id": _tokenizer(added_tokens=[{"content": "<far>"}]),
    "added tokens that are no list": _tokenizer(added_tokens={"a": 1}),
    "a broken map of characters": _broken_map,
    "an expression that backtracks": _tokenizer("x" * 40 + "z " + TEXT, pre_tokenizer=SLOW),
    "an expression that backtracks over a long text": _tokenizer("x" * 100_000, pre_tokenizer=SLOW),
    "a tokenizer nested deep": _deep_tokenizer,
    "a chat template that loops": _template(
        "{% for i in range(99999) %}{% for j in range(99999) %}{% set x = i * j %}{% endfor %}{% endfor %}"
    ),
    "a chat template that loops and writes": _template(
        "{% for i in range(99999) %}{% for j in range(99999) %}{{ messages[0].content }}{% endfor %}{% endfor %}"
    ),
    "a chat template that multiplies a string": _template("{{ 'a' * 9999999999 }}"),
    "a chat template that pads a string": _template("{{ '%9999999999d' % 1 }}{{ 'a'.ljust(9999999999) }}"),
    "a chat template that multiplies a list": _template("{% set x = [0] * 999999999 %}{{ x | length }}"),
    "a chat template of a huge power": _template("{{ (9 ** 9 ** 9) % 7 }}"),
    "a chat template that recurses": _template("{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}"),
    "a chat template that cannot be parsed": _template("{% for %}"),
    "a chat template nested deep": _template("{% if true %}" * 9000 + "{% endif %}" * 9000),
    "k = 10^9": _settings("--k", "1000000000"),
    "k = 10^25": _settings("--k", str(10**25)),
    "row_length = 10^12": _settings("--row-length", str(10**12)),
    "batch_size = 10^12": _settings("--batch-size", str(10**12)),
    "sample = 10^15": _settings("--sample", str(10**15)),
    "windows of 10^12": _settings("--before", str(10**12)),
    "logits = 10^12": _settings("--logits", str(10**12)),
    "shards = 10^30": _settings("--shard", f"1/{10**30}"),
    "seed = 10^30": _settings("--seed", str(10**30)),
    "seed = -1": _settings("--seed", "-1"),
    "a device that holds nothing": _settings("--device", "meta"),
    "a device that there is not": _settings("--device", "no such"),
    "a subject's path of 5,000 characters": lambda folder: collect(folder, LONG),
    "a store's path of 5,000 characters": lambda folder: [*collect(folder, model(folder)), "--store", LONG + "s.h5"],
    "a corpus's path of 5,000 characters": lambda folder: [*collect(folder, model(folder)), "--corpus", LONG],
    "a store to check with a path of 5,000 characters": lambda folder: ["check", LONG],
    "a tokenizer's path of 5,000 characters": lambda folder: collect(folder, model(folder), "--tokenizer", LONG),
    "a store under a file": _read_only,
    "a RUN.toml nested deep": _run("a = " + "[" * 5000 + "]" * 5000),
    "a RUN.toml of tables nested deep": _run("a." * 5000 + "b = 1"),
    "a RUN.toml with a number of 5,000 digits": _run(RUN + "[collect]\nk = " + "9" * 5000),
    "a RUN.toml whose path is a folder": lambda folder: ["run", str(folder)],
    "a RUN.toml with a path of 5,000 characters": _run(RUN.replace("out.h5", LONG + "out.h5")),
    "a RUN.toml with vectors of 5,000 characters": _run(RUN.replace('"corpus"', f'"{LONG}"')),
    "a RUN.toml with an LLM of 5,000 characters": _run(RUN + f'llm = "{LONG}"'),
    "a RUN.toml with level = nan": _run(RUN + "[verdict]\nlevel = nan"),
    "a RUN.toml with strong = nan": _run(RUN + "[verdict]\nstrong = nan"),
    "a RUN.toml with temperature = nan": _run(RUN + "[summary]\ntemperature = nan"),
    "a RUN.toml with sides = []": _run(RUN + "sides = []"),
    "a RUN.toml with layers = []": _run(RUN + "layers = []"),
    "a RUN.toml with draws = 10^15": _run(RUN + f"[similarity]\ndraws = {10**15}"),
    "a RUN.toml with a date": _run(RUN + "[collect]\nk = 2020-01-01"),
    "a RUN.toml with an unknown table of ESC": _run(RUN + '["\\u001b[31m"]\nk = 1'),
    "no store but a pipe": lambda folder: (os.mkfifo(folder / "s.h5"), ["check", str(folder / "s.h5")])[1],
    "no store but a folder": lambda folder: ["check", str(folder)],
    "a chunk of 2 GB": _changed(_huge_chunk),
    "ranks of 2^62": _changed(_column(f"{VERDICTS}/rank", 2**62)),
    "scores of NaN": _changed(_column(f"{VERDICTS}/score", np.nan)),
    "z that is infinite": _changed(_column(f"{SIMILARITY}/z", np.inf)),
    "z that is infinite, in show": _changed(_column(f"{SIMILARITY}/z", np.inf), "show", "0", "0"),
    "ranks of 2^62, in report": _changed(_column(f"{VERDICTS}/rank", 2**62), "report"),
    "a manifest of 10^12 layers": _changed(_manifest(lambda m: m["subject"].update(n_layers=10**12))),
    "a manifest with numbers of 4,400 digits": _changed(_manifest_text('"rows":', '"rows": ' + "9" * 4400 + ', "x":')),
    "a manifest of 10^4000 rows": _changed(_manifest(lambda m: m.update(rows=10**4000))),
    "a manifest of 10^4000 tokens": _changed(_manifest(lambda m: m.update(tokens=10**4000))),
    "a manifest of 10^4000 tokens, in show": _changed(_manifest(lambda m: m.update(tokens=10**4000)), "show", "0", "0"),
    "a manifest of a window of 10^4000": _changed(_manifest(lambda m: m["config"].update(before=10**4000))),
    "a manifest of a window of 10^4000, in show": _changed(
        _manifest(lambda m: m["config"].update(before=10**4000)), "show", "0", "0"
    ),
    "a manifest of other types": _changed(_manifest(lambda m: m["subject"].update(name=[1], d_mlp={"a": 1}))),
    "a manifest of other types, in report": _changed(_manifest(lambda m: m["subject"].update(name=[1])), "report"),
    "a spelling of control characters": _changed(
        _texts(f"{SIMILARITY}/form", "end \x1b[31m\u202egnp.exe\u2066"), "show", "0", "0"
    ),
}
