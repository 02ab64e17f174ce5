"""The group of all commands, and what happens around each: signals, exit codes, errors in one line.

Invariant: whatever a command raises ends in one line and exit code 1. An error that is no `NeurolocalError` is a
mistake of this program: its traceback goes to a file that the line names.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import tempfile
import traceback
from typing import NoReturn

import click

from neurolocal.cli.options import CONTEXT
from neurolocal.errors import NeurolocalError, first_line
from neurolocal.machine import begin_command

COMMANDS = {
    "demo": "Everything, on SmolLM2-135M and the sample corpus.",
    "run": "Everything, from one file; an interrupted run resumes.",
    "plan": "What a run will cost before it is started: time, memory, disk.",
    "collect": "Text through a model -> each neuron's best examples.",
    "merge": "Shards of a collection -> the store that one run would make.",
    "check": "Is this store whole, and what the subject says?",
    "find": "The neurons whose examples peak on a token (or word).",
    "similarity": "Do a neuron's top tokens belong together?",
    "meanings": "Has a neuron one meaning or several?",
    "perturbation": "Does the activation follow when the word is replaced?",
    "verdict": "The evidence -> a verdict and a rank for every neuron.",
    "intervention": "What does a neuron do to the next token?",
    "summary": "What would a person call it? A local LLM describes neurons.",
    "score": "What is a description worth, on texts it was not made from?",
    "report": "The neurons by rank: table, JSON, CSV, Parquet, page or plots.",
    "site": "A static site of the store: a page a neuron, tables, search.",
    "show": "One neuron: its examples, evidence and statistics.",
    "try": "A text of your own: what do neurons do on it?",
    "serve": "The pages of a store in the browser; a text box to ask.",
    "export": "Out to other tools: Parquet, CSV, neuron records, Neuronpedia.",
    "neuroscope": "Neuroscope's pages: import, replay, compare, export.",
    "bundle": "Across the air gap: all that a run needs in one folder, checked.",
}
"""The commands in the order of the data, each in the module of its name, with the first line of its help: the list of
commands is printed without importing any of them."""

FILES = {"try": "try_text"}
"""The module and function of a command whose name is a word of Python."""


class Commands(click.Group):
    """A command is imported when it is asked for. A stage without a file of its own has its settings as options."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of `COMMANDS`."""
        return list(COMMANDS)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, from `COMMANDS` alone."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name; None where there is none."""
        if cmd_name in COMMANDS:
            name = FILES.get(cmd_name, cmd_name)
            return getattr(importlib.import_module(f"neurolocal.cli.{name}"), name)
        from neurolocal.records import TABLES

        if cmd_name not in TABLES:
            return None
        from neurolocal.cli.stage_command import stage_command
        from neurolocal.pipeline.stages import stage

        found = stage(cmd_name)
        return stage_command(cmd_name, found.config, help=(found.config.__doc__ or cmd_name))


@click.group(cls=Commands, context_settings=CONTEXT)
@click.version_option(package_name="neurolocal")
def cli() -> None:
    """Find out what a local language model's neurons stand for, offline.

    \b
    neurolocal demo                   everything, on the embedded default
    neurolocal run RUN.toml           everything, on your own model and corpus
    neurolocal report STORE           the ranked neurons
    neurolocal show STORE 14 159      one neuron
    neurolocal try STORE "a text"     what neurons do on a text of your own

    A store is one HDF5 file: collect makes it, merge joins shards of it, check
    verifies it, the stages (similarity to score) add their evidence to it, and
    report, show and find read it.
    """


def main() -> None:
    """Run the command line and exit with its code."""
    begin_command()
    # libgomp's threads spin for milliseconds when they have nothing to do, and take the cores from our own threads and
    # from other programs; asleep at once, they wake too late for small layers. It is read when torch is loaded.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a batch system's SIGTERM ends as Ctrl-C does
    encodable(sys.stdout)
    try:
        cli.main(prog_name="neurolocal", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except NeurolocalError as error:
        _end(str(error))
    except (KeyboardInterrupt, click.Abort):
        click.echo("stopped; what was written before is kept, and the same command resumes it", err=True)
        sys.exit(1)
    except BrokenPipeError:  # whoever read the output has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except MemoryError as error:
        _out_of_memory(error)
    except (SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # a panic of a Rust library is no Exception
        if type(error).__name__ == "OutOfMemoryError":  # torch's; importing torch to ask would take seconds
            _out_of_memory(error)
        _end(
            f"unexpected {type(error).__name__}: {first_line(error)}. This is a mistake of neurolocal, or of a package "
            f"it uses; the traceback is in {keep_traceback(error)}. What was written before is kept. Please report it."
        )


def _out_of_memory(error: BaseException) -> NoReturn:
    """Say that the memory of the machine or of a GPU did not suffice."""
    _end(
        f"out of memory ({first_line(error)}). Choose smaller settings (such as k, row_length, batch_size), fewer "
        f"layers, or a machine with more memory; the traceback is in {keep_traceback(error)}."
    )


def encodable(out: object) -> None:
    """Let an output print any text: characters that its encoding lacks (cp1252, ascii) become question marks."""
    reconfigure = getattr(out, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")


LONGEST_MESSAGE = 2_000
"""Characters of an error's line; names and paths in it may be longer."""


def _end(message: str) -> NoReturn:
    """Print an error in one line, and exit with 1."""
    from neurolocal.render.visible import visible

    click.echo(f"error: {visible(' '.join(message.split()), limit=LONGEST_MESSAGE)}", err=True)
    sys.exit(1)


def keep_traceback(error: BaseException) -> str:
    """Write the traceback of an error to a temporary file; gives its path."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="neurolocal-", suffix=".txt", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as file:
            file.write(f"{' '.join(sys.argv)}\n\n{''.join(traceback.format_exception(error))}")
    except OSError as error:
        return f"no file ({error.strerror})"
    return file.name
