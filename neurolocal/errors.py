"""Errors that a user can cause and mend: one base class and a few children.

Every message states what was being done, what was found, what was expected and what to do next, in one line. The
command line prints it without a traceback and exits with 1.
"""


class NeurolocalError(Exception):
    """A mistake that a user can mend; the message says how."""


class ConfigError(NeurolocalError):
    """An impossible setting, or two that contradict each other."""


class SubjectError(NeurolocalError):
    """A model that is missing, broken, or has no MLP neurons to read."""


class CorpusError(NeurolocalError):
    """Text that is missing, unreadable, or holds nothing to analyse."""


class StoreError(NeurolocalError):
    """A store that is missing, damaged, of another version, or made by something else."""


class StorageError(NeurolocalError):
    """Other storage that cannot be reached, or holds something else than before."""


class VectorsError(NeurolocalError):
    """Word vectors that are missing, cut short, or fit none of the corpus's words."""


class LLMError(NeurolocalError):
    """A local LLM that is missing, is no GGUF, or cannot be run."""


def first_line(error: BaseException, limit: int = 160) -> str:
    """The first line of what an error says, cut at `limit` characters; the name of its type where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:limit]
