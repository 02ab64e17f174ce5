"""RUN.toml: what it may hold, and how a mistake in it is said."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from small_run import neurolocal, write_corpus, write_vectors

from neurolocal.errors import ConfigError, NeurolocalError
from neurolocal.pipeline.run import Run, read_run, run_all

LEAST = '[run]\nsubject = "smollm2"\ncorpus = "text.jsonl"\nstore = "out/store.h5"\n'


@pytest.fixture
def write(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "RUN.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        read_run(path)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    return text


def test_the_least(write, tmp_path) -> None:
    assert read_run(write(LEAST)) == Run(
        subject="smollm2", corpus=tmp_path / "text.jsonl", store=tmp_path / "out" / "store.h5"
    )


def test_all_of_it(write, tmp_path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "tiny.gguf").touch()
    run = read_run(
        write(
            '[run]\nsubject = "model"\ncorpus = "c"\nstore = "s.h5"\nlayers = [3, 5]\nvectors = "corpus"\n'
            'llm = "tiny.gguf"\ndevice = "cpu"\n'
            '[collect]\nk = 7\nlayers = [3, 5]\ndtype = "bfloat16"\n[similarity]\nmethod = "notebook"\n'
            "[perturbation]\nscreen = 10\n[summary]\nlimit = 2\n[verdict]\ndead = 0.1\n"
        )
    )
    assert run.subject == str(tmp_path / "model")
    assert run.llm == str(tmp_path / "tiny.gguf")
    assert (run.layers, run.vectors, run.device) == ((3, 5), "corpus", "cpu")
    assert run.collect.layers == (3, 5)
    assert (run.configs["collect"].k, run.configs["collect"].dtype) == (7, "bfloat16")
    assert (run.configs["similarity"].method, run.method) == ("notebook", "notebook")
    assert (run.configs["perturbation"].screen, run.configs["summary"].limit) == (10, 2)
    assert run.configs["verdict"].dead == 0.1
    assert (run.json, run.page) == (tmp_path / "s.json", tmp_path / "s.html")


def test_absolute_paths_stay(write, tmp_path) -> None:
    run = read_run(write(LEAST.replace("text.jsonl", "/data/text").replace("out/store.h5", "/out/s.h5")))
    assert (run.corpus, run.store) == (Path("/data/text"), Path("/out/s.h5"))


def test_a_name_that_is_no_path_here_stays_a_name(write) -> None:
    assert read_run(write(LEAST)).subject == "smollm2"
    assert read_run(write(LEAST)).vectors == "glove"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "[run] lacks subject, corpus, store"),
        ('[run]\nsubject = "a"\n', "[run] lacks corpus, store"),
        (LEAST + "layer = [3]\n", "[run]: unknown layer; known are corpus, device, layers"),
        (
            LEAST + "[colect]\nk = 3\n",
            "tables: unknown colect; known are collect, control, intervention, meanings, perturbation, run",
        ),
        (LEAST + "[collect]\nkk = 3\n", "[collect]: unknown kk; known are after, bands"),
        (LEAST + "[collect]\nk = 0\n", "[collect]: k = 0: it must be 1 or more"),
        ("collect = 3\n" + LEAST, "[collect]: expected a table, found int"),
        ("run = 3\n", "[run]: expected a table, found int"),
        (LEAST + "[collect]\nk = 'many'\n", '[collect]: k = "many": expected a whole number'),
        (LEAST + "[collect]\nk = 2.5\n", "[collect]: k = 2.5"),
        (LEAST + "[collect]\nk = true\n", "[collect]: k = true"),
        (LEAST + "[collect]\nlayers = 3\n", "[collect]: layers = 3"),
        (LEAST + "[collect]\nlayers = ['a']\n", "[collect]: layers = "),
        (
            LEAST + "[collect]\ndtype = 'float8'\n",
            '[collect]: dtype = "float8": expected one of float32, bfloat16',
        ),
        (LEAST + "[similarity]\nmethod = 'own'\n", '[similarity]: method = "own": expected one of default, notebook'),
        (LEAST + "[similarity]\nlevel = 'low'\n", '[similarity]: level = "low": expected a number'),
        (LEAST + "layers = 3\n", "[run]: layers = 3"),
        (LEAST + "layers = ['a']\n", "[run]: layers = "),
        (LEAST.replace('"smollm2"', "3"), "[run]: subject = 3"),
        (LEAST.replace('"text.jsonl"', "3"), "[run]: corpus = 3"),
        (LEAST + "llm = false\n", "[run]: llm = false"),
        (LEAST + "sides = []\n", "[run]: sides = []: give one or more, or omit it"),
        (LEAST + "layers = []\n", "[run]: layers = []: give one or more, or omit it"),
        (LEAST + "[verdict]\nlevel = nan\n", "[verdict]: level = nan"),
        (LEAST + "[collect]\nk = " + "9" * 5000, "Exceeds the limit"),
        (LEAST.replace("store.h5", "a/" * 2500 + "store.h5"), "File name too long"),
        (LEAST + f"llm = '{'a/' * 2500}'\n", "File name too long"),
        (LEAST + f"vectors = '{'a/' * 2500}'\n", "File name too long"),
        ("a = " + "[" * 5000 + "]" * 5000, "nested too deep"),
        ("[run\n", "It must be a TOML file."),
        ("[run]\nsubject = 'a'\nsubject = 'b'\n", "It must be a TOML file."),
    ],
)
def test_a_mistake_is_one_line_with_file_and_field(text: str, says: str, write) -> None:
    assert says in refusal(write(text))


def test_no_file(tmp_path) -> None:
    assert "no such file" in refusal(tmp_path / "absent.toml")
    assert "it is a folder. Give a TOML file" in refusal(tmp_path)


def test_bytes_that_are_no_text(tmp_path) -> None:
    path = tmp_path / "RUN.toml"
    path.write_bytes(b"\xff\xfe[run]")
    assert "It must be a TOML file." in refusal(path)


def test_a_whole_number_will_do_for_a_share(write) -> None:
    assert read_run(write(LEAST + "[verdict]\nlevel = 1\n")).configs["verdict"].level == 1


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("llm = 'absent.gguf'\n", "loading the LLM absent.gguf: there is no such file"),
        ("llm = '.'\n", "it is a folder"),
        ("vectors = '.'\n", "it is a directory"),
        ("vectors = 'absent.txt'\n", "cannot read vectors absent.txt: it is missing"),
        ("sides = ['gate+_in+']\n", "sign cases need sign_cases = true in [collect]"),
        ("layers = [1, 7]\n[collect]\nlayers = [1, 5]\n", "layers 7 would not be collected"),
    ],
)
def test_what_cannot_be_is_said_before_anything_starts(more, says, fixtures, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_corpus(tmp_path / "corpus.jsonl")
    subject = str(fixtures / "stories260k")
    vectors = "" if "vectors" in more else "vectors = 'corpus'\n"
    (tmp_path / "RUN.toml").write_text(
        f"[run]\nsubject = {subject!r}\ncorpus = 'corpus.jsonl'\nstore = 'out/store.h5'\n{vectors}{more}"
    )
    with pytest.raises(NeurolocalError, match=re.escape(says)):
        run_all(read_run(tmp_path / "RUN.toml"), limit=3, say=lambda line: None)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", ["corpus.jsonl/store.h5", "folder", "folder.h5"])
def test_a_store_or_report_that_cannot_be_written_is_said_before_anything_starts(place, fixtures, tmp_path) -> None:
    write_corpus(tmp_path / "corpus.jsonl")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.json").mkdir()
    subject = str(fixtures / "stories260k")
    (tmp_path / "RUN.toml").write_text(
        f"[run]\nsubject = {subject!r}\ncorpus = 'corpus.jsonl'\nstore = {place!r}\nvectors = 'corpus'\n"
    )
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(NeurolocalError, match=r"is a file, not a folder|it is a folder, not a file"):
        run_all(read_run(tmp_path / "RUN.toml"), limit=3, say=lambda line: None)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
def test_a_run_from_one_file_is_resumed_and_done_again_where_it_changed(fixtures, tmp_path) -> None:
    write_corpus(tmp_path / "corpus.jsonl")
    write_vectors(tmp_path / "vectors.txt")
    (tmp_path / "RUN.toml").write_text(
        f"[run]\nsubject = {str(fixtures / 'stories260k')!r}\ncorpus = 'corpus.jsonl'\nstore = 'out/store.h5'\n"
        "vectors = 'vectors.txt'\nlayers = [3]\ndevice = 'cpu'\n"
        "[collect]\nrow_length = 48\nk = 5\nmax_rows = 24\n[similarity]\ndraws = 30\n"
        "[perturbation]\nscreen = 4\nexamples = 2\n[summary]\nlimit = 3\n"
    )
    first = neurolocal("run", "RUN.toml", "--limit", 3, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "layer 3" in first.stdout
    report = json.loads((tmp_path / "out" / "store.json").read_text())
    assert {n["layer"] for n in report["neurons"]} == {3}
    assert (tmp_path / "out" / "store.html").is_file()
    second = neurolocal("run", "RUN.toml", "--limit", 3, cwd=tmp_path)
    assert second.returncode == 0, second.stderr
    assert second.stderr.count("not done again") == 7
    assert "nothing to do" in second.stderr
    assert second.stdout == first.stdout
    changed = (tmp_path / "RUN.toml").read_text().replace("draws = 30", "draws = 40")
    (tmp_path / "RUN.toml").write_text(changed)
    third = neurolocal("run", "RUN.toml", cwd=tmp_path)
    assert "similarity: layer 3 again, since config.draws: 30 -> 40" in third.stderr
    assert "nothing to do" in third.stderr, "collected again, though nothing of it changed"
