"""Are the ids of a GGUF's tokenizer llama.cpp's? Asked once, when it is made for the cache.

Invariant: what is found is recorded and said, and changes nothing. Cost: a child process that reads the file's
metadata, and encoding `SAMPLES` short texts twice.
"""

from __future__ import annotations

import importlib.util
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from neurolocal.files import write_text
from neurolocal.subject.tokenizers.find import read_tokenizer
from neurolocal.subject.tokenizers.gguf_fields import NORMAL, GGUFVocabulary
from neurolocal.subject.tokenizers.gguf_pre import DEFAULT, PRE_TOKENIZERS
from neurolocal.subject.tokenizers.texts import SPACE, byte_level

RECORD = "judge.json"
"""The name of the record in the tokenizer's folder."""

SAMPLES = 200
"""Texts made of the vocabulary's own tokens."""

SECONDS = 300
"""How long the judge may take."""

Encode = Callable[[list[str], Literal["token", "text"]], list[list[int]]]
"""The tokenizer judged: the ids of texts, with control tokens that are written out as tokens or as text."""

HOSTILE = (
    "", " ", "  ", "\t", "\n", "\r\n", " a", "a ", "  a  b ", "a\tb\t\tc", "a\n\n\nb", "\n \n", "a\0b", "\x7f\x1c\x85",
    "1", "12", "123", "1234", "12345678901", "3.14 1,000,000 $5 50%", "²½ⅷ① ٣٤٥ १२३४ １２３４", "a1b22c333d4444",
    "it's we'll they've I'M 'tis 's 'S l'été ’s ''", "camelCase PascalCase UPPER snake_case __init__(self):",
    "if (a[0] != b->c) { return x+=1; } // <html>&amp;#@~^`|\\", "http://a.b/c?d=e&f=1#g", "?!... --- *** ___",
    "héllo naïve café e\u0301 n\u0303\u0303 \u0301", "日本語のテスト、中文字符。한국어 ไทย ລາວ ខ្មែរ မြန်မာ",
    "हिन्दी বাংলা العربية עברית Ελληνικά Русский Ǆǅǆ ﬁ ß İ ſ", "🎉 👩‍👩‍👧 🏳️‍🌈 🇦🇧 𝒜𝓁 𠮷野家 豈 㐀",
    "\u00a0\u1680\u2003\u2028\u202f\u3000\ufeff\u200b\u200d", "\u0378\ue000\U000e0001\U0010ffff",
    "<s> </s> <unk> <|endoftext|> <|im_start|>user\n<|im_end|>", "▁the ▁ ▁▁ <0x0A> [UNK] ##ing",
)  # fmt: skip
"""What tokenizers differ on."""


def compare_with_llama_cpp(path: Path, encode: Encode, tokens: Sequence[str]) -> dict[str, Any]:
    """The record of a comparison.

    Args:
        path: of the GGUF file; of a split one, the first part.
        encode: gives the ids of a list of texts.
        tokens: texts that stand for tokens, of which samples are made.
    """
    texts = [*HOSTILE, *_samples(tokens)]
    answer = _ask(path, texts)
    if isinstance(answer, str):
        return {"judge": None, "why": answer, "installed": _installed()}
    version, theirs = answer
    ours = zip(encode(texts, "token"), encode(texts, "text"), strict=True)
    differ = [(text, a, b) for text, a, b in zip(texts, map(list, ours), theirs, strict=True) if a != b]
    found: dict[str, Any] = {"judge": f"llama-cpp-python {version}", "texts": len(texts), "differ": len(differ)}
    if differ:
        text, mine, other = differ[0]
        found["first"] = {"text": text, "ids": mine, "llama_cpp": other}
    return found


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """Write a record into a tokenizer's folder."""
    write_text(folder / RECORD, json.dumps(record, ensure_ascii=True, indent=1), durable=False)


def read_record(folder: Path) -> dict[str, Any]:
    """The record in a tokenizer's folder; empty where there is none."""
    try:
        found = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def record_line(record: dict[str, Any]) -> str:
    """What the user should know of a comparison, in one line; empty where all ids are equal, or none was recorded."""
    if record.get("judge") is None:
        why = record.get("why")
        return f"the ids of the GGUF's tokenizer were not compared with llama.cpp's: {why}" if why else ""
    if not record.get("differ"):
        return ""
    first = ascii(record["first"]["text"])
    return (
        f"WARNING: {record['judge']} gives other ids than the tokenizer used for {record['differ']:,} of "
        f"{record['texts']:,} texts made to try it (first: {first[:60]})"
    )


def may_ask_again(record: dict[str, Any]) -> bool:
    """Whether no comparison was made since llama.cpp was missing, and it is there now."""
    return record.get("judge") is None and not record.get("installed", False) and _installed()


def folder_encoder(folder: Path) -> Encode:
    """The ids by the files of a folder that `write_gguf_tokenizer` wrote."""
    tokenizer = read_tokenizer(folder)
    return lambda texts, control: tokenizer.encode(texts, control=control)


def token_texts(vocabulary: GGUFVocabulary) -> list[str]:
    """Texts that stand for the ordinary tokens of a vocabulary."""
    ordinary = [text for text, kind in zip(vocabulary.tokens, vocabulary.types.tolist(), strict=True) if kind == NORMAL]
    how = PRE_TOKENIZERS.get(vocabulary.pre or DEFAULT)
    if vocabulary.model != "gpt2" or how is None or not how.byte_level:
        return [text.replace(SPACE, " ") for text in ordinary]
    return [byte_level(text).decode("utf-8", "ignore") for text in ordinary]


def _installed() -> bool:
    return importlib.util.find_spec("llama_cpp") is not None


def _samples(tokens: Sequence[str]) -> list[str]:
    """Texts of the vocabulary's own tokens, the same ones each time."""
    draw = random.Random(len(tokens))
    usable = [text for text in tokens if text and len(text) < 60]
    if not usable:
        return []
    return ["".join(draw.choices(usable, k=draw.randint(1, 24))) for _ in range(SAMPLES)]


def _ask(path: Path, texts: list[str]) -> tuple[str, list[list[list[int]]]] | str:
    """llama.cpp's version and its ids, or why there are none."""
    if not _installed():
        return "llama-cpp-python is not installed"
    program = Path(__file__).with_name("gguf_child.py")
    try:
        done = subprocess.run(
            [sys.executable, "-P", str(program)],  # without the folder of the program in the path of imports
            input=json.dumps([str(path), texts]),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
            env={**os.environ, "GGML_NO_BACKTRACE": "1"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"asking it failed ({type(error).__name__})"
    try:
        answer = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        said = (done.stderr.strip().splitlines() or [""])[-1][:160]
        return f"it ended with code {done.returncode}{f' ({said})' if said else ''}"
    return "it refuses the file" if answer is None else (answer[0], answer[1])
