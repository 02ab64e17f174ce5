"""Batches made ahead, in a thread or a process: the same, in the same order, and nothing is left running."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from corpus_twins import encode, write
from test_corpus_packing import same

from neurolocal.config import CollectConfig
from neurolocal.corpus import RowStream, batches, encoded, feed
from neurolocal.errors import CorpusError

CALLED: list[Any] = []
TEXTS = ["abcabc" * n for n in range(40)]


def stuck(texts):
    """The first group of a process is tokenised, the second takes a minute."""
    time.sleep(60 * (len(CALLED) > 0))
    CALLED.append(texts)
    return encode(texts)


def failing(texts):
    raise ZeroDivisionError("no ids")


class OddError(Exception):
    """One that cannot be read from what it was written as."""

    def __init__(self, one, two):
        super().__init__(f"{one} {two}")


def oddly(texts):
    raise OddError("very", "odd")


def ending(texts):
    os.kill(os.getpid(), signal.SIGKILL)


def stream(path: Path, *, encoder: Any = encode, **more: Any) -> RowStream:
    config: Any = {"row_length": 5, "batch_size": 2} | more
    return RowStream([path], encoder, 1, 2, CollectConfig(**config))


def broken(folder: Path) -> Path:
    """A corpus with records that are none."""
    path = write(folder, TEXTS, "jsonl")
    lines = path.read_text().splitlines()
    lines[7:7], lines[30:30] = ["broken", "[]"], ['{"no": 1}'] * 3
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def processes(monkeypatch):
    """The processes that the feed starts."""
    started = []
    monkeypatch.setattr(feed._Process, "__init__", _noting(feed._Process.__init__, started))
    return started


def _noting(init: Any, started: list[Any]) -> Any:
    def new(self, *args):
        init(self, *args)
        started.append(self._process)

    return new


def ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def until(true: Any, seconds: float = 120) -> bool:
    late = time.monotonic() + seconds
    while not true() and time.monotonic() < late:
        time.sleep(0.02)
    return true()


@pytest.mark.parametrize("shards", [1, 3])
def test_a_process_gives_what_the_stream_gives(tmp_path, processes, shards):
    path = broken(tmp_path)
    plain = stream(path)
    whole = list(plain.batches())
    made = stream(path, shard=shards - 1, shards=shards)
    found = list(batches(made, process=True))
    for a, b in zip(found, whole[shards - 1 :: shards], strict=True):
        same(a, b)
    assert made.end == plain.end
    assert vars(made.skipped) == vars(plain.skipped)
    assert made.skipped.counts.total() == 5
    middle = whole[len(whole) // 2]
    for a, b in zip(batches(stream(path), middle.after, process=True), whole[middle.number + 1 :], strict=True):
        same(a, b)
    assert all(process.returncode is not None for process in processes)


@pytest.mark.parametrize("threads", [2, 5])
def test_threads_give_what_one_gives(tmp_path, monkeypatch, threads):
    monkeypatch.setattr(encoded, "GROUP", 30)
    monkeypatch.setattr(encoded, "PART", 100)
    path = broken(tmp_path)
    whole, made = list(stream(path).batches()), stream(path)
    made.threads = threads
    for a, b in zip(made.batches(), whole, strict=True):
        same(a, b)
    assert not [one for one in threading.enumerate() if one.name.startswith("tokenise") and one.is_alive()]


@pytest.mark.parametrize("how", [{"threads": 3}, {"process": True}])
def test_an_error_comes_behind_what_stands_before_it(tmp_path, monkeypatch, how):
    monkeypatch.setattr(encoded, "GROUP", 30)
    path, wanted, found = broken(tmp_path), [], []
    with pytest.raises(CorpusError) as first:
        wanted.extend(stream(path, strict=True).batches())
    made = stream(path, strict=True)
    made.threads = how.get("threads", 1)
    with pytest.raises(CorpusError, match="record 8: not JSON") as caught:
        found.extend(batches(made, process="process" in how))
    assert str(caught.value) == str(first.value)
    assert len(found) == len(wanted) > 1
    for a, b in zip(found, wanted, strict=True):
        same(a, b)
    assert made.end is None


def test_any_error_of_the_process_is_raised(tmp_path, processes):
    path = broken(tmp_path)
    with pytest.raises(ZeroDivisionError, match="no ids"):
        list(batches(stream(path, encoder=failing), process=True))
    with pytest.raises(RuntimeError, match="OddError: very odd"):
        list(batches(stream(path, encoder=oddly), process=True))
    with pytest.raises(CorpusError, match=r"ended by signal 9.* What was collected is kept"):
        list(batches(stream(path, encoder=ending), process=True))
    assert all(process.returncode is not None for process in processes)


def test_a_process_that_does_not_start(tmp_path, monkeypatch):
    monkeypatch.setattr(feed, "CHILD", "raise SystemExit(3)")
    with pytest.raises(CorpusError, match="ended with 3"):
        list(batches(stream(broken(tmp_path)), process=True))


def test_the_process_ends_when_nobody_reads_on(tmp_path, processes):
    """While it writes a batch, and while it tokenises."""
    path = write(tmp_path, ["abcabcabc"] * 50_000, "jsonl")
    for encoder, rows in ((encode, 2), (stuck, 70_000)):
        running = batches(stream(path, encoder=encoder, batch_size=rows), process=True)
        next(running)
        began = time.monotonic()
        running.close()  # type: ignore[attr-defined]
        assert time.monotonic() - began < 50, "it waited for the group that takes a minute"
    assert [process.returncode for process in processes] == [-signal.SIGKILL] * 2
    assert until(lambda: not any(t.name == "rows" for t in threading.enumerate()))


PARENT = """
import sys, time
sys.path[:] = {path!r}
import test_corpus_feed as own
from pathlib import Path
from neurolocal.corpus import batches, feed
feed._Process.__init__ = own._noting(feed._Process.__init__, started := [])
running = batches(own.stream(Path({corpus!r}), encoder=own.{encoder}, batch_size={rows}), process=True)
next(running)
print(started[0].pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize(("encoder", "rows"), [("encode", 2), ("stuck", 70_000)])
def test_a_killed_run_leaves_no_process(tmp_path, encoder, rows):
    """Not while it writes a batch, and not while it tokenises the next group, with nothing to write."""
    corpus = write(tmp_path, ["abcabcabc"] * 50_000, "jsonl")
    program = PARENT.format(path=sys.path, corpus=str(corpus), encoder=encoder, rows=rows)
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    time.sleep(0.3)
    assert not ended(child)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert until(lambda: ended(child))


def test_a_signal_to_stop_is_left_to_the_reader(tmp_path, processes):
    """Ctrl-C reaches all processes of a terminal; the run may want the batch that is being made."""
    path = broken(tmp_path)
    running = batches(stream(path), process=True)
    found = [next(running)]
    for name in (signal.SIGINT, signal.SIGTERM):
        processes[0].send_signal(name)
    found.extend(running)
    for a, b in zip(found, stream(path).batches(), strict=True):
        same(a, b)


def test_a_subject_s_tokenizer_needs_no_torch_in_the_process(fixtures):
    """What a collection sends to the process is read by one that has loaded none of the heavy packages."""
    from neurolocal.subject.chat import ChatTemplate
    from neurolocal.subject.tokenizers.find import read_tokenizer

    tokenizer, chat = read_tokenizer(fixtures / "stories260k"), ChatTemplate("{{ bos_token }}{{ messages }}", bos="<s>")
    vocabulary = tokenizer.vocabulary(600)
    data = pickle.dumps((tokenizer.encode_documents, vocabulary, chat.render))
    program = (
        "import pickle, sys; encode, vocabulary, render = pickle.load(sys.stdin.buffer)\n"
        "found = encode(vocabulary, ['Once there was a cat.'])\n"
        "heavy = {'torch', 'transformers', 'datasets'} & sys.modules.keys()\n"
        "sys.stdout.buffer.write(pickle.dumps((found, heavy, render([])[0])))"
    )
    done = subprocess.run([sys.executable, "-c", program], input=data, capture_output=True, check=True)
    found, heavy, text = pickle.loads(done.stdout)
    wanted = tokenizer.encode_documents(vocabulary, ["Once there was a cat."])
    assert [[array.tolist() for array in one] for one in found] == [[array.tolist() for array in one] for one in wanted]
    assert heavy == set()
    assert text == chat.render([])[0] == "[]"


def test_a_copy_of_a_tokenizer_takes_control_tokens_the_same_way(fixtures):
    from neurolocal.subject.tokenizers.find import read_tokenizer

    tokenizer = read_tokenizer(fixtures / "stories260k")
    text = f"Once {tokenizer.roles.bos} there"
    wanted = {how: tokenizer.encode([text], control=how) for how in ("token", "text")}
    assert wanted["token"] != wanted["text"]
    copy = pickle.loads(pickle.dumps(tokenizer))
    assert {how: copy.encode([text], control=how) for how in ("token", "text")} == wanted
