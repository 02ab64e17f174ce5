"""The process that makes batches for another one: reads a stream and a cursor, writes messages.

Invariant: it ends when its parent does, however that ended. Signals that ask a group of processes to stop are the
parent's to obey: it may want the batch that is being made.
Cost: importing numpy and the tokenizer's library; no torch.
"""

from __future__ import annotations

import copy
import os
import pickle
import signal
import sys
import threading
import traceback

from neurolocal.corpus.feed import messages, send


def main() -> None:
    """Answer the one question on the standard input."""
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no message
    stream, cursor = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    told = None
    for message in messages(stream, cursor):
        if message.error is not None:
            message.error.add_note("".join(traceback.format_exception(message.error)))
        if stream.skipped != told:
            told = copy.deepcopy(stream.skipped)
            message = message._replace(skipped=told)
        send(out, message)


def _end_with_the_parent() -> None:
    while os.read(0, 1 << 16):
        pass
    os._exit(0)
