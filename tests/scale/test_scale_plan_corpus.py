"""The size of a corpus as `plan` estimates it, against the rows that a collection makes of it."""

from __future__ import annotations

import dataclasses
import functools
import gzip
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from small_run import TEXT, write_corpus

from neurolocal.config import CollectConfig
from neurolocal.corpus import RowStream, corpus_files
from neurolocal.errors import ConfigError, CorpusError, NeurolocalError, SubjectError
from neurolocal.scale import plan_corpus
from neurolocal.scale.plan_corpus import PER_TOKEN, corpus_size

CONFIG = CollectConfig(row_length=32)


@pytest.fixture(scope="module")
def tokenizer(fixtures: Path):
    from neurolocal.subject.load import subject_tokenizer

    return subject_tokenizer(fixtures / "stories260k", d_vocab=512)


def rows_of(corpus: Path, config: CollectConfig, tokenizer: Any) -> int:
    """The rows that the corpus really makes."""
    encode = functools.partial(tokenizer.encode_documents, tokenizer.vocabulary(512))
    stream = RowStream(corpus_files(corpus), encode, tokenizer.bos, tokenizer.eos, config)
    return sum(len(batch.rows) for batch in stream.batches())


def test_a_small_corpus_has_exactly_its_rows(tokenizer, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c.jsonl", 40)
    for config in (CONFIG, CollectConfig(row_length=64, bos="none")):
        assert corpus_size(corpus, config, tokenizer).rows == rows_of(corpus, config, tokenizer)
    found = corpus_size(corpus, CONFIG, tokenizer)
    characters = sum(len(json.loads(line)["text"]) for line in corpus.read_text().splitlines())
    assert f"1 file of {corpus.stat().st_size / 1024:,.1f} KiB, of which 100% was read" in found.how
    assert f"of {characters:,} that were tokenised" in found.how


def test_a_document_begins_a_row_where_rows_hold_one_document(tokenizer, tmp_path: Path) -> None:
    corpus, config = write_corpus(tmp_path / "c.jsonl", 40), dataclasses.replace(CONFIG, packing="document")
    assert corpus_size(corpus, config, tokenizer).rows == pytest.approx(rows_of(corpus, config, tokenizer), rel=0.05)
    assert corpus_size(corpus, config, tokenizer).rows > 1.05 * corpus_size(corpus, CONFIG, tokenizer).rows / 2


def test_a_large_corpus_is_read_in_part(tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_corpus, "CHARACTERS", 12_000)
    monkeypatch.setattr(plan_corpus, "AT_FIRST", 4_000)
    texts = [json.dumps({"text": TEXT[: 100 + 37 * i % 480]}) for i in range(100)]
    for i in range(6):
        (tmp_path / f"{i}.jsonl").write_text("\n".join(texts[i:] + texts[:i]))
    looked: list[int] = []
    real = plan_corpus._look
    monkeypatch.setattr(plan_corpus, "_look", lambda files, i, *rest: looked.append(i) or real(files, i, *rest))
    found = corpus_size(tmp_path, CONFIG, tokenizer)
    assert looked == [0, 1, 3, 5]
    assert "6 files of" in found.how
    assert "100%" not in found.how
    assert found.rows == pytest.approx(rows_of(tmp_path, CONFIG, tokenizer), rel=0.05)


def test_without_a_tokenizer_it_is_assumed_and_said(tmp_path: Path) -> None:
    corpus = tmp_path / "c.jsonl.gz"
    with gzip.open(corpus, "wt") as file:
        file.write("\n".join(json.dumps({"text": TEXT}) for _ in range(30)))
    found = corpus_size(corpus, CONFIG, None)
    assert found.rows == math.floor((30 * len(TEXT) / PER_TOKEN + 29) / 31)
    assert "4.00 characters a token, assumed, without a tokenizer" in found.how


def test_token_ids_are_counted_as_they_are(tokenizer, tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    ids = [np.arange(50) % 400 + 3 for _ in range(20)]
    pq.write_table(pa.table({"input_ids": ids}), tmp_path / "c.parquet")
    found = corpus_size(tmp_path / "c.parquet", dataclasses.replace(CONFIG, text_field="input_ids"), tokenizer)
    assert found.rows == (20 * 51 - 1) // 31
    assert "characters" not in found.how


def test_conversations_are_written_by_the_tokenizers_template(tokenizer, tmp_path: Path) -> None:
    corpus = tmp_path / "c.jsonl"
    talk = [{"role": "user", "content": TEXT}, {"role": "assistant", "content": TEXT}]
    corpus.write_text("\n".join(json.dumps({"messages": talk}) for _ in range(4)))
    with pytest.raises(CorpusError, match=r"no document was found in 1 of 1 files \(4 records: .*\)\. Check"):
        corpus_size(corpus, CONFIG, tokenizer)


def run(*arguments: object) -> Any:
    from neurolocal.cli.main import cli

    return CliRunner().invoke(cli, ["plan", *map(str, arguments)])


def test_the_command_plans_for_a_corpus(fixtures: Path, tokenizer, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c.jsonl", 40)
    common = ("--machine", "h100", "--corpus", corpus, "--dtype", "bfloat16", "--row-length", 32)
    told = json.loads(run(*common, "--subject", fixtures / "stories260k", "--json").output)
    assert told["corpus"]["rows"] == rows_of(corpus, CONFIG, tokenizer)
    assert any(note.startswith("rows of the corpus: 1 file of") for note in told["notes"])
    assert "without a tokenizer" in run(*common, "--subject", "gpt2-small").output
    named = ("--tokenizer", fixtures / "stories260k")
    assert "that were tokenised" in run(*common, "--subject", "gpt2-small", *named).output


@pytest.mark.parametrize(
    ("more", "kind", "said"),
    [
        (("--tokens", "1e6"), ConfigError, "--tokens and --corpus each state the size of the corpus. Give one"),
        (("--rows", "5"), ConfigError, "--rows and --corpus each state"),
        (("--tokenizer", "/no/such"), SubjectError, "/no/such"),
        (("--text-field", "content"), CorpusError, "Check --text-field"),
    ],
)
def test_a_mistake_is_one_line(more: tuple[str, ...], kind: type, said: str, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c.jsonl", 2)
    ended = run("--subject", "gpt2-small", "--machine", "h100", "--dtype", "bfloat16", "--corpus", corpus, *more)
    assert isinstance(ended.exception, NeurolocalError)
    assert isinstance(ended.exception, kind)
    assert said in str(ended.exception)
