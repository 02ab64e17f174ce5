"""The command line: one file a command, each a thin shell over the library.

Exit codes: 0; 1 for what a user can mend (one line, no traceback); 2 for wrong usage. Nothing heavy is imported before
a command needs it, so `--help` answers at once.
"""

from neurolocal.cli.main import cli, main

__all__ = ["cli", "main"]
