"""The command line as a program meets it: help, exit codes, a mistake as one line with nothing half-written left."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import click
import pytest
from small_run import neurolocal

from neurolocal.cli.main import COMMANDS, cli, main
from neurolocal.cli.options import Count, Numbers, Shard

GOLDEN = Path(__file__).parent / "golden"


class Ended(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def run(monkeypatch, capfd):
    """The command line in this process, as its entry point runs it."""

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["neurolocal", *map(str, arguments)])
        capfd.readouterr()
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        return Ended(code, *capfd.readouterr())

    return run


def all_commands() -> dict[str, click.Command]:
    """Every command of the group by its name, in order."""
    context = click.Context(cli)
    found = {name: cli.get_command(context, name) for name in cli.list_commands(context)}
    return {name: command for name, command in found.items() if command is not None}


def commands() -> dict[str, click.Command]:
    found: dict[str, click.Command] = {"neurolocal": cli}
    for name, command in all_commands().items():
        found[f"neurolocal-{name}"] = command
        within = command.commands if isinstance(command, click.Group) else {}
        found |= {f"neurolocal-{name}-{inner}": one for inner, one in within.items()}
    return found


@pytest.mark.parametrize("name", commands())
def test_help_is_as_it_was(name: str, run, monkeypatch) -> None:
    """NEUROLOCAL_GOLDEN=write writes the texts anew; read the difference before it is committed."""
    monkeypatch.setenv("COLUMNS", "80")
    # click keeps the help option of a command's first use, which has no -h where a test invoked the command alone.
    monkeypatch.setattr(commands()[name], "_help_option", None)
    ended = run(*name.split("-")[1:], "--help")
    assert (ended.code, ended.err) == (0, "")
    text = ended.out
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("NEUROLOCAL_GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.is_file(), f"no {path}: run with NEUROLOCAL_GOLDEN=write"
    assert text == path.read_text(encoding="utf-8")


def test_the_list_of_commands_is_the_first_line_of_each_help_whole_at_80_columns() -> None:
    for name, command in all_commands().items():
        assert COMMANDS[name] == (command.help or "").split("\n")[0]
        assert len(COMMANDS[name]) <= 80 - 2 - max(map(len, COMMANDS)) - 2


def test_no_golden_without_its_command() -> None:
    assert {path.stem for path in GOLDEN.glob("neurolocal*.txt")} == set(commands())


@pytest.mark.parametrize("name", list(commands())[1:])
def test_every_command_has_an_example_and_every_option_a_text(name: str) -> None:
    command = commands()[name]
    assert name.replace("-", " ") in (command.epilog or "")
    assert command.help
    assert all(option.help for option in command.params if isinstance(option, click.Option))


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["--version"], ["collect", "--help"]])
def test_help_ends_well(arguments, run) -> None:
    ended = run(*arguments)
    assert ended.code == 0
    assert "neurolocal" in ended.out
    assert ended.err == ""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nothing"], "No such command 'nothing'"),
        (["collect"], "Missing option '--subject'"),
        (["collect", "--no-such-flag"], "No such option"),
        (["report"], "Missing argument 'STORE'"),
        (["show", "s.h5", "three", "1"], "'three' is not a valid integer"),
        (["similarity", "s.h5", "--layers", "a-b"], "'a-b': give numbers and ranges, for example 0,3,5-7"),
        (["similarity", "s.h5", "--layers", ""], "give numbers and ranges"),
        (["similarity", "s.h5", "--layers", "7-5"], "give numbers and ranges"),
        (["similarity", "s.h5", "--layers", "0-9999999999"], "give numbers and ranges"),
        (["plan", "--subject", "a", "--tokens", "ten"], "'ten': give a count, for example 500, 10k, 10M, 300B, 1.5T"),
        (["plan", "--subject", "a", "--tokens", "10Q"], "'10Q': give a count"),
        (["plan", "--subject", "a", "--rows", "0"], "'0' is 0.0: give a whole number of at least 1"),
        (["collect", "--max-rows", "1.5"], "'1.5' is 1.5: give a whole number of at least 1"),
        (["similarity", "s.h5", "--method", "own"], "'own' is not one of 'default', 'notebook'"),
        (
            ["collect", *["--subject", "a", "--corpus", "b", "--store", "c", "--shard", "4/4"]],
            "'4/4': give I/N with I from 0 to N-1",
        ),
        (["collect", "--shard", "4/4"], "'4/4': give I/N with I from 0 to N-1"),
        (["collect", "--dtype", "int8"], "'int8' is not one of"),
        (["report", "s.h5", "--limit", "-1"], "-1 is not in the range"),
    ],
)
def test_wrong_usage_ends_with_2(arguments, says: str, run) -> None:
    ended = run(*arguments)
    assert ended.code == 2
    assert says in ended.err
    assert "Traceback" not in ended.err
    assert ended.out == ""


@pytest.mark.parametrize(
    ("text", "layers"),
    [("0", (0,)), ("0,3,5-7", (0, 3, 5, 6, 7)), ("7,1,1-2", (1, 2, 7)), (" 3 , 4-4 ", (3, 4)), ("12-12", (12,))],
)
def test_layers(text: str, layers: tuple[int, ...]) -> None:
    assert Numbers().convert(text, None, None) == layers
    assert Numbers().convert(layers, None, None) == layers


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("1", 1), ("10k", 10**4), ("10M", 10**7), ("300B", 3 * 10**11), ("1.5T", 1_500_000_000_000), ("7g", 7 * 10**9),
        ("1e9", 10**9), ("1.25E+3", 1250), ("10_000", 10**4), ("10,000", 10**4), (" 5 ", 5), ("0.0025k", None),
        ("", None), ("M", None), ("-1", None), ("1e", None), ("nan", None), ("1e999", None),
        ("0x10", None), ("²", None),
    ],
)  # fmt: skip
def test_counts(text: str, count: int | None) -> None:
    if count is not None:
        assert Count().convert(text, None, None) == count
        return
    with pytest.raises(click.BadParameter, match="give a"):
        Count().convert(text, None, None)


@pytest.mark.parametrize("name", list(all_commands()))
def test_layers_are_named_alike_everywhere(name: str) -> None:
    """`--layers`, with `--layer` as its other name, wherever layers are chosen."""
    command = all_commands()[name]
    within = command.commands.values() if isinstance(command, click.Group) else [command]
    named = [option.opts for one in within for option in one.params if option.name in ("layer", "layers")]
    assert all(names in (["--layers", "--layer"], ["layer"]) for names in named), named


@pytest.mark.parametrize(("text", "shard"), [("0/1", (0, 1)), ("3/4", (3, 4))])
def test_shard(text: str, shard: tuple[int, int]) -> None:
    assert Shard().convert(text, None, None) == shard


@pytest.mark.parametrize("text", ["1/1", "a/b", "1", "1/0", "-1/2", "1/2/3", "²/3", "", "0/" + "9" * 5000])
def test_a_shard_that_cannot_be(text: str) -> None:
    with pytest.raises(click.BadParameter, match=r"give I/N with I from 0 to N-1"):
        Shard().convert(text, None, None)


@pytest.fixture
def here(made: Path, tmp_path, monkeypatch) -> Path:
    folder = Path(shutil.copytree(made, tmp_path / "here"))
    monkeypatch.chdir(folder)
    return folder


def listing(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_refused(ended: Ended, folder: Path, before: dict[str, bytes], *says: str) -> None:
    assert ended.code == 1, ended
    lines = [line for line in ended.err.replace("\r", "\n").splitlines() if line.strip() and "it/s" not in line]
    assert lines, "nothing was said"
    assert lines[-1].startswith("error: "), ended.err
    assert sum(line.startswith("error: ") for line in lines) == 1
    for text in says:
        assert text in lines[-1]
    assert "Traceback" not in ended.err
    assert ended.out == ""
    assert listing(folder) == before, "something half-written was left"


def a_store_of(version: int | None = None, **attributes: object):
    def damage(path: Path) -> None:
        import h5py

        with h5py.File(path, "r+") as file:
            if version is not None:
                file.attrs["version"] = version
            for name, value in attributes.items():
                file.attrs[name] = value

    return damage


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


STAGES = ["similarity", "perturbation", "verdict", "summary"]


@pytest.mark.parametrize("command", [*STAGES, "report", "show"])
@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (Path.unlink, ["no such file", "neurolocal collect"]),
        (a_store_of(2), ["a store of version 2, this program reads version 1", "collect again"]),
        (a_store_of(format="another"), ["no neurolocal store", "Give a file made by `neurolocal collect`"]),
        (cut, ["no whole HDF5 file", "Copy it again"]),
        (lambda path: path.write_text("text"), ["no whole HDF5 file"]),
    ],
    ids=["missing", "version", "format", "cut", "text"],
)
def test_a_store_that_is_none(command: str, damage, says, here: Path, run) -> None:
    damage(here / "store.h5")
    before = listing(here)
    more = {"show": [3, 1], "report": []}.get(command, ["--vectors", "vectors.txt"] * (command != "verdict"))
    assert_refused(run(command, "store.h5", *more), here, before, "store.h5", *says)


@pytest.mark.parametrize("command", [*STAGES, "report"])
def test_a_layer_that_does_not_exist(command: str, here: Path, run) -> None:
    before = listing(here)
    ended = run(command, "store.h5", "--layers", "3,9")
    assert_refused(ended, here, before, "looking for layer 9", "store.h5", "layers 0-4", "Choose from these")


@pytest.mark.parametrize(("layer", "neuron", "says"), [(9, 0, "layer 9"), (3, 172, "0 to 171")])
def test_a_neuron_that_does_not_exist(layer: int, neuron: int, says: str, here: Path, run) -> None:
    before = listing(here)
    assert_refused(run("show", "store.h5", layer, neuron), here, before, says)


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--subject", "no/such/model", ["no/such/model", "no such folder or file"]),
        ("--subject", "half.gguf", ["half.gguf", "cut short or damaged", "Copy the file again"]),
        ("--subject", "empty", ["empty", "has no config.json", "Give a Hugging Face model folder"]),
        ("--corpus", "no/such/corpus", ["no/such/corpus"]),
        ("--corpus", "empty.jsonl", ["empty.jsonl"]),
        ("--corpus", "empty", ["empty"]),
        ("--corpus", "content.jsonl", ["content.jsonl", "text"]),
        ("--corpus", "broken.jsonl", ["broken.jsonl"]),
        ("--layers", "5", ["5", "layers"]),
        ("--row-length", "1", ["row_length = 1", "2 or more"]),
        ("--row-length", "2049", ["rows of 2,049 tokens", "2,048 positions", "smaller --row-length"]),
        ("--k", "0", ["k = 0"]),
        ("--device", "teapot", ["teapot", "Choose another --device"]),
        ("--store", "corpus.jsonl", ["corpus.jsonl", "no whole HDF5 file"]),
    ],
)
def test_a_collection_that_cannot_be(option: str, value: str, says, here: Path, fixtures, run) -> None:
    whole = (fixtures / "stories260k" / "stories260K.gguf").read_bytes()
    (here / "half.gguf").write_bytes(whole[: len(whole) // 2])
    (here / "empty").mkdir()
    (here / "empty.jsonl").touch()
    (here / "content.jsonl").write_text('{"content": "no text"}\n')
    (here / "broken.jsonl").write_text("{no json\n[1, 2]\n")
    before = listing(here)
    given = {"--subject": fixtures / "stories260k", "--corpus": "corpus.jsonl", "--store": "new.h5", "--device": "cpu"}
    given[option] = value
    assert_refused(run("collect", *(part for pair in given.items() for part in pair)), here, before, *says)


def test_a_cache_that_cannot_be_made(here: Path, fixtures, run, monkeypatch) -> None:
    (here / "file").touch()
    monkeypatch.setenv("NEUROLOCAL_CACHE", str(here / "file" / "cache"))
    before = listing(here)
    ended = run("collect", "--subject", fixtures / "stories260k", "--corpus", "corpus.jsonl", "--store", "new.h5")
    assert_refused(ended, here, before, "making the cache folder", "Set NEUROLOCAL_CACHE to a folder")


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--device", "meta"], "moving the subject to meta: it holds no values"),
        (["--k", 10**9], "k = 1000000000: it must be 10,000,000 or less"),
        (["--k", 10**7, "--before", 10**6], "the machine has"),
        (["--row-length", 10**12], "row_length = 1000000000000"),
        (["--store", "corpus.jsonl/new.h5"], "corpus.jsonl is a file, not a folder"),
        (["--store", "a/" * 2500 + "new.h5"], "File name too long"),
        (["--corpus", "a/" * 2500], "File name too long"),
    ],
)
def test_settings_that_no_machine_can_mean(more, says, here: Path, fixtures, run) -> None:
    before = listing(here)
    given = ["--subject", fixtures / "stories260k", "--corpus", "corpus.jsonl", "--store", "new.h5", "--device", "cpu"]
    assert_refused(run("collect", *given, *more), here, before, says)


def test_a_folder_where_a_store_is_expected(here: Path, run) -> None:
    before = listing(here)
    assert_refused(run("check", "."), here, before, "it is a folder, not a file")


def test_other_weights_are_refused(here: Path, fixtures, run) -> None:
    other = Path(shutil.copytree(fixtures / "stories260k", here / "other", copy_function=shutil.copyfile))
    config = other / "config.json"
    config.write_text(config.read_text().replace('"rms_norm_eps": 9', '"rms_norm_eps": 8'))
    before = listing(here)
    ended = run("perturbation", "store.h5", "--subject", "other", "--vectors", "vectors.txt", "--layers", 3)
    assert_refused(ended, here, before, "store.h5", "made by other weights", "collect again")
    same = ["--row-length", 32, "--k", 3, "--max-rows", 8, "--before", 4, "--after", 2, "--device", "cpu"]
    ended = run("collect", "--subject", "other", "--corpus", "corpus.jsonl", "--store", "store.h5", *same)
    assert_refused(ended, here, before, "store.h5", "made from something else", "subject: ")


def test_no_llm_file(here: Path, run) -> None:
    before = listing(here)
    ended = run("summary", "store.h5", "--llm", "no.gguf", "--vectors", "vectors.txt")
    assert_refused(ended, here, before, "no.gguf", "there is no such file", "or none")


@pytest.mark.parametrize("content", [None, "", "a b c\n", "\x00\x01"])
def test_vectors_that_are_none(content: str | None, here: Path, run) -> None:
    if content is not None:
        (here / "own.txt").write_text(content)
    before = listing(here)
    assert_refused(run("similarity", "store.h5", "--vectors", "own.txt"), here, before, "own.txt")


def test_a_line_that_is_no_json_is_skipped_and_counted_or_stops(here: Path, fixtures, run) -> None:
    with (here / "corpus.jsonl").open("a") as file:
        file.write("{no json\n")
    command = ["collect", "--subject", fixtures / "stories260k", "--corpus", "corpus.jsonl", "--device", "cpu"]
    command += ["--row-length", 32, "--k", 2]
    ended = run(*command, "--strict", "--store", "strict.h5")
    assert ended.code == 1
    assert "corpus.jsonl" in ended.err.splitlines()[-1]
    assert "13" in ended.err.splitlines()[-1]
    kept = run("similarity", "strict.h5", "--vectors", "vectors.txt")  # what was read before is there, as unfinished
    assert (kept.code, "collection stopped at row" in kept.err) == (1, True)
    command += ["--store", "new.h5"]
    ended = run(*command)
    assert ended.code == 0, ended.err
    assert "1 records skipped" in ended.err
    assert "corpus.jsonl" in ended.err


def test_a_mistake_in_a_process_of_its_own(here: Path) -> None:
    before = listing(here)
    done = neurolocal("report", "absent.h5", cwd=here)
    assert_refused(Ended(done.returncode, done.stdout, done.stderr), here, before, "absent.h5")
    assert len(done.stderr.splitlines()) == 1
    assert neurolocal("report", cwd=here).returncode == 2


def test_a_reader_that_has_seen_enough(here: Path) -> None:
    """`neurolocal report … | head -1` ends without a traceback."""
    import subprocess

    code = "from neurolocal.cli.main import main; main()"
    done = subprocess.run(
        ["bash", "-c", f"'{sys.executable}' -c '{code}' report store.h5 --json | head -c 1"],
        cwd=here, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "{"
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--explain", "--method", "notebook"], "--explain moves the thresholds of the default method"),
        (["--json"], "--json prints what --explain found"),
    ],
)
def test_verdict_refuses_options_that_say_nothing_together(tmp_path, arguments: list[str], says: str) -> None:
    done = neurolocal("verdict", "none.h5", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert says in done.stderr
