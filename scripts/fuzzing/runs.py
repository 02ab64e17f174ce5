"""The readers of bundles, run files, settings and journals."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import random
from pathlib import Path
from typing import Any

from fuzzing import twins
from fuzzing.mutate import PLACES, TEXTS, as_json, as_lines, as_toml, flat
from fuzzing.reader import Reader, pack, put, silent, unpack


@functools.cache
def _bundles() -> list[bytes]:
    """A bundle of a folder of texts, whole and in volumes."""
    made = twins.module("bundle", "bundle_twins")
    folder = twins.folder() / "bundles"
    corpus = folder / "texts"
    for name, text in {"a.txt": "one\n", "b/two.txt": "two " * 30_000, "empty.txt": ""}.items():
        (corpus / name).parent.mkdir(parents=True, exist_ok=True)
        (corpus / name).write_text(text)
    whole = made.small_bundle(folder / "whole", corpus)
    cut = made.small_bundle(folder / "cut", corpus, volume_size=1 << 16)
    return [twins.files(whole), twins.files(cut)]


def _bundle_mutate(data: bytes, rng: random.Random) -> bytes:
    """The manifest, with sums that fit or not; a file; a link; a file more."""
    files = unpack(data)
    kind = rng.random()
    if kind < 0.7 or not files:
        files["manifest.json"] = _manifest(files.get("manifest.json", b"{}"), rng)
    elif kind < 0.8:
        name = rng.choice(sorted(files))
        files[name] = flat(files[name], rng)
    elif kind < 0.85:
        files.pop(rng.choice(sorted(files)))
    elif kind < 0.95:
        name = rng.choice([*files, "corpus/x", "volume-0009", "x"])
        files.pop(name, None)
        files[f"{name}->"] = rng.choice([b"/etc/hostname", b"..", b"manifest.json", b"/dev/zero", b"../../outside"])
    else:
        files[
            rng.choice(["more", "corpus/more.partial", "volume-0001.partial", "-rf", "a\nb", "manifest.json.partial"])
        ] = b"x"
    return pack(files)


def _manifest(data: bytes, rng: random.Random) -> bytes:
    """Paths that lead out are what a forger would write, with everything else as it should be."""
    if rng.random() < 0.5:
        return as_json(data, rng)
    try:
        found: Any = json.loads(data)
        entry = rng.choice(found["files"] + found["volumes"])
        where = rng.choice(
            [
                "../out",
                "/tmp/out",
                "a/../../out",
                "corpus//x",
                "C:/x",
                "con",
                "x/.",
                "\u202ex",
                "a" * 300,
                "nul.txt",
                "A" * 1001,
                "corpus",
                "corpus/../manifest.json",
                "manifest.json",
                "verify.py",
                "\\\\x\\y",
                "a\n",
            ]
        )
        entry[rng.choice(["path", "path", "size", "sha256", "section"])] = rng.choice(
            [where, 2**44, -1, 2**62, True, 1.0, "", None, "0" * 64]
        )
        found[rng.choice(["install", "run", "python", "platform"])] = rng.choice(
            ["x; rm -rf ~", "a==1", where, None, "3.11", "x==1 --index-url http://x"]
        )
        return json.dumps(found).encode()
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return flat(data, rng)


def _verify(data: bytes, folder: Path) -> None:
    from neurolocal.bundle.verify import summary, verify

    root = put(data, folder) / "."
    before = {str(path) for path in folder.parent.iterdir()}
    manifest = verify(root, say=silent)
    assert all("\n" not in line for line in summary(root, manifest))
    assert {str(path) for path in folder.parent.iterdir()} == before, "something was written beside the bundle"
    for entry in manifest["files"]:
        assert (root / entry["path"]).resolve().is_relative_to(folder.resolve()), "a file outside the bundle was taken"
        assert hashlib.sha256((root / entry["path"]).read_bytes()).hexdigest() == entry["sha256"]


RUN = b"""[run]
subject = "model"
corpus = "corpus.jsonl"
store = "out/s.h5"
vectors = "vectors.txt"
layers = [1, 2]
sides = ["largest", "smallest"]
device = "cpu"
[collect]
row_length = 32
k = 4
neurons = [0, 5]
sites = ["post"]
shard = 0
[similarity]
draws = 30
level = 0.1
[perturbation]
screen = 3
[summary]
limit = 2
temperature = 0.5
[verdict]
strong = 6.0
closed = 3.5
[score]
limit = 0
"""


def _read_run(data: bytes, folder: Path) -> None:
    from neurolocal.pipeline.requirements import require_run
    from neurolocal.pipeline.run import read_run

    (folder / "RUN.toml").write_bytes(data)
    run = read_run(folder / "RUN.toml")
    repr(run)
    require_run(run, needs_llm=False)


COMMANDS = [
    ["collect", "--subject", "no-model", "--corpus", "c.jsonl", "--store", "s.h5", "--layers", "0,3,5-7", "--k", "5"],
    [
        "collect",
        "--subject",
        "no-model",
        "--corpus",
        "c",
        "--store",
        "s.h5",
        "--shard",
        "0/4",
        "--neurons",
        "1,2",
        "--preset",
        "neuroscope",
    ],
    ["report", "s.h5", "--layer", "1", "--json"],
    ["show", "s.h5", "0", "1", "--limit", "3"],
    ["find", "s.h5", " the", "--layers", "0-3", "--limit", "9"],
    ["similarity", "s.h5", "--layers", "2", "--vectors", "v.txt", "--draws", "30"],
    ["verdict", "s.h5", "--level", "0.1", "--strong", "2"],
    ["merge", "out.h5", "a.h5", "b.h5"],
    ["check", "s.h5", "--replay", "4"],
    ["neuroscope", "import", "pages", "--out", "t.h5", "--site", "post"],
    ["neuroscope", "compare", "a.h5", "m.json", "--layers", "1"],
    ["export", "tables", "s.h5", "out", "--layers", "0"],
    ["site", "s.h5", "out", "--neurons", "1,2", "--top", "4"],
    ["run", "RUN.toml", "--until", "verdict"],
    ["plan", "RUN.toml"],
    ["bundle", "verify", "folder"],
]
"""Commands with settings; none of the files is there."""


def _settings_mutate(data: bytes, rng: random.Random) -> bytes:
    try:
        words = [str(word) for word in json.loads(data)]
        at = rng.randrange(len(words))
    except (ValueError, TypeError):
        return flat(data, rng)
    odd = [
        *(text for text in TEXTS if text not in PLACES),  # a user may name any file
        "9" * 5000,
        "1e9",
        "0-999999",
        "5-1",
        "-",
        ",",
        "0/0",
        "1/0",
        "-1/3",
        "1.5",
        "inf",
        "--help",
        "--json",
        "a:b",
        "²",
    ]
    kind = rng.random()
    if kind < 0.6 and at:
        words[at] = rng.choice(odd)
    elif kind < 0.75 and at:
        words[at] += rng.choice(odd)
    elif kind < 0.85:
        words[at + 1 : at + 1] = [rng.choice([*odd, *words])]
    else:
        del words[at:]
    return json.dumps(words).encode()


def _settings(data: bytes, folder: Path) -> None:
    import os

    import click

    from neurolocal.cli.main import cli

    try:
        words = json.loads(data)
        assert isinstance(words, list)
        arguments = [os.fsdecode(os.fsencode(word)) for word in words if isinstance(word, str) and "\0" not in word]
    except (ValueError, AssertionError, UnicodeEncodeError, RecursionError):
        return
    if any(word.startswith(("demo", "serve", "make")) for word in arguments):
        return  # they do much without any file
    with contextlib.chdir(folder), contextlib.suppress(click.ClickException, click.exceptions.Exit, click.Abort):
        cli.main(arguments, prog_name="neurolocal", standalone_mode=False)


def _journal(data: bytes, folder: Path) -> None:
    from neurolocal.pipeline.journal import Journal

    (folder / "j.jsonl").write_bytes(data)
    journal = Journal(folder / "j.jsonl", {"a": 1})
    journal.add(3, {"text": "x"})
    again = journal.parts
    journal._held.close()  # pyright: ignore[reportPrivateUsage]
    assert Journal(folder / "j.jsonl", {"a": 1}).parts.keys() == again.keys()


def _journals() -> list[bytes]:
    from neurolocal.config import sha256

    head = json.dumps({"made_from": sha256({"a": 1})})
    rows = [json.dumps({"neuron": i, "text": "a\u2028b", "values": [0.5, None]}) for i in range(3)]
    return ["\n".join([head, *rows, ""]).encode()]


READERS: dict[str, Reader] = {
    "bundle": Reader(_bundles, _bundle_mutate, _verify, refusals=("BundleError",)),
    "run": Reader(lambda: [RUN], as_toml, _read_run),
    "settings": Reader(
        lambda: [json.dumps(words).encode() for words in COMMANDS], _settings_mutate, _settings, guided=False
    ),
    "journal": Reader(_journals, as_lines, _journal),
}
"""Name -> reader."""
