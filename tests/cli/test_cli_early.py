"""Mistakes are told before anything heavy is imported: wrong paths, names, layers, settings, folders, packages."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "transformers", "transformer_lens", "gensim", "numba", "scipy", "llama_cpp")

EACH = f"""
import contextlib, io, json, sys
from neurolocal.cli.main import main
for arguments in json.loads(sys.stdin.read()):
    sys.argv, err, code = ["neurolocal", *arguments], io.StringIO(), 0
    with contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = end.code
    print(json.dumps([code, err.getvalue(), [name for name in {HEAVY!r} if name in sys.modules]]))
"""


@pytest.fixture(scope="module")
def told(made: Path, fixtures: Path, tmp_path_factory) -> dict[str, tuple[int, str]]:
    """Every mistake with the exit code and what was said, all in one process that must not import anything heavy."""
    folder = tmp_path_factory.mktemp("early")
    model, corpus, store = str(fixtures / "stories260k"), str(made / "corpus.jsonl"), str(made / "store.h5")
    new = str(folder / "new.h5")
    collect = ["collect", "--subject", model, "--corpus", corpus, "--store"]
    run = f"[run]\nsubject = {model!r}\ncorpus = {corpus!r}\nstore = 'new.h5'\nvectors = 'corpus'\n"
    for name, more in (("layers", "layers = [3, 77]\n"), ("llm", "llm = 'no.gguf'\n"), ("ok", "")):
        (folder / f"{name}.toml").write_text(run + more)
    (folder / "tokenizer.toml").write_text(run + "tokenizer = 'no/such'\n")
    mistakes = {
        "corpus": ["collect", "--subject", model, "--corpus", "no/corpus", "--store", new],
        "subject": ["collect", "--subject", "no/such", "--corpus", corpus, "--store", new],
        "short name": ["collect", "--subject", "gpt2-small", "--corpus", corpus, "--store", new],
        "tokenizer": [*collect, new, "--tokenizer", "no/such"],
        "layers": [*collect, new, "--layers", "0,77,78"],
        "folder": [*collect, "/proc/no.h5"],
        "setting": [*collect, new, "--k", "0"],
        "no store": [*collect, corpus],
        "other settings": [*collect, store, "--k", "7"],
        "run: layers": ["run", str(folder / "layers.toml")],
        "run: llm": ["run", str(folder / "llm.toml")],
        "run: tokenizer": ["run", str(folder / "tokenizer.toml")],
        "run: until": ["run", str(folder / "ok.toml"), "--until", "verdicts"],
        "demo: until": ["demo", "--out", str(folder), "--until", "verdicts"],
        "demo: folder": ["demo", "--out", "/proc/no"],
        "perturbation": ["perturbation", store, "--subject", "no/such", "--vectors", str(made / "vectors.txt")],
        "intervention": ["intervention", store, "--subject", "no/such"],
        "summary": ["summary", store, "--llm", "no.gguf"],
        "similarity": ["similarity", store, "--layers", "77"],
        "try": ["try", "no/such", "a text", "--neuron", "1:2"],
        "try: layer": ["try", model, "a text", "--neuron", "77:2"],
        "try: store": ["try", store, "a text", "--subject", "no/such"],
        "plan": ["plan", "--subject", "no/such", "--tokens", "10M", "--machine", "h100"],
        "plan: machine": ["plan", "--subject", "llama-3.1-8b", "--tokens", "10M", "--machine", "no"],
        "plan: layers": ["plan", "--subject", model, "--tokens", "10M", "--machine", "h100", "--layers", "77"],
    }
    done = subprocess.run(
        [sys.executable, "-c", EACH], input=json.dumps(list(mistakes.values())), capture_output=True, text=True,
        check=True, timeout=120,
    )  # fmt: skip
    found = {}
    for name, line in zip(mistakes, done.stdout.splitlines(), strict=True):
        code, said, heavy = json.loads(line)
        assert heavy == [], f"{name} imports {heavy}"
        found[name] = (code, said)
    assert not list(folder.glob("new*"))
    return found


@pytest.mark.parametrize(
    ("mistake", "says"),
    [
        ("corpus", "reading the corpus no/corpus: no such file or folder"),
        ("subject", "loading the subject no/such: there is no such folder or file, and the local hub cache does not"),
        ("short name", "does not hold gpt2, for which TransformerLens's gpt2-small stands"),
        ("tokenizer", "loading the tokenizer no/such: there is no such folder or file, and the local hub cache does"),
        ("layers", "layers 77, 78: the subject has layers 0 to 4. Choose from these."),
        ("folder", "collecting into /proc/no.h5:"),
        ("setting", "k = 0: it must be 1 or more"),
        ("no store", "it is no whole HDF5 file"),
        ("other settings", "it was made from something else (config.after: 2 -> "),
        ("run: layers", "layers 77: the subject has layers 0 to 4. Choose from these."),
        ("run: llm", "no.gguf: there is no such file; expected a GGUF model"),
        ("run: tokenizer", "loading the tokenizer no/such: there is no such folder or file"),
        ("run: until", "running until verdicts: there is no such stage; they are similarity, meanings, perturbation"),
        ("demo: until", "running until verdicts: there is no such stage"),
        ("demo: folder", "collecting into /proc/no/store.h5:"),
        ("perturbation", "loading the subject no/such: there is no such folder or file"),
        ("intervention", "loading the subject no/such: there is no such folder or file"),
        ("summary", "loading the LLM no.gguf: there is no such file"),
        ("similarity", "looking for layer 77 in"),
        ("try", "loading the subject no/such: there is no such folder or file"),
        ("try: layer", "layers 77: the subject has layers 0 to 4. Choose from these."),
        ("try: store", "loading the subject no/such: there is no such folder or file"),
        ("plan", "loading the subject no/such: there is no such folder or file"),
        ("plan: machine", "reading the machine's constants no: [Errno 2] No such file or directory"),
        ("plan: layers", "layers 77: the subject has layers 0 to 4. Choose from these."),
    ],
)
def test_a_mistake_is_told_without_importing_anything_heavy(mistake: str, says: str, told) -> None:
    code, said = told[mistake]
    assert says in said
    assert code == 1
    assert said.strip().splitlines()[-1].startswith("error: ")
