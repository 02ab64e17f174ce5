"""What a user can cause: one base class, small children.

Every message says what was being done, what came, what was expected and what to do next, in one line;
the command line prints it without a traceback and exits with 1.
"""


class NeurolocalError(Exception):
    """A mistake that a user can mend; the message says how."""


class ConfigError(NeurolocalError):
    """A setting that cannot be, or two that contradict each other."""


class SubjectError(NeurolocalError):
    """A model that is missing, broken, or has no MLP neurons to read."""


class CorpusError(NeurolocalError):
    """Text that is missing, unreadable, or holds nothing to analyse."""


class StoreError(NeurolocalError):
    """A store that is missing, damaged, of another version, or made by something else."""


class VectorsError(NeurolocalError):
    """Word vectors that are missing, cut short, or fit none of the corpus's words."""


class LLMError(NeurolocalError):
    """A local LLM that is missing, is no GGUF, or cannot be run."""
