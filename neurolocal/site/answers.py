"""Answers of the subject to questions, as plain objects: what neurons do on a text, and where its words are.

Invariant: the store and the subject belong together, also after the store's file was replaced. Not imported without a
subject: it loads torch. Cost: of `neurolocal.asking`, and the text is tokenised once more for the offsets.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from neurolocal.asking import Asking, answer_object
from neurolocal.errors import StoreError, SubjectError
from neurolocal.literals import Site
from neurolocal.render.visible import LONGEST, visible
from neurolocal.site.ask import Question, QuestionError
from neurolocal.site.current import Current, Stamp
from neurolocal.store import Store
from neurolocal.store.checked import DamagedError
from neurolocal.subject import Subject
from neurolocal.words import WORD


class Answers:
    """Asks a subject, beside the store that was collected with it; for one thread."""

    def __init__(self, path: Path, subject: Subject, *, site: Site | None = None, say: Callable[[str], None]) -> None:
        """Open the store.

        Args:
            path: the store's file.
            subject: the model that it was collected with.
            site: which of the store's sites; None is its first.
            say: receives one line where the file was replaced.
        """

        def make(stamp: Stamp) -> Asking:
            store = Store(path, site=site)
            try:
                if store.manifest["subject"]["sha256"] != subject.sha256:
                    raise StoreError(f"{path} is now of another subject. Start `neurolocal serve` again.")
                return Asking(subject, store)
            except BaseException:
                store.close()
                raise

        self._subject = subject
        self._asking = Current(path, make, close=_close, say=say)

    def __call__(self, question: Question) -> dict[str, Any]:
        """The answer to a question.

        Raises:
            QuestionError: the subject cannot read the text, or there is no such neuron.
        """
        asking = self._asking.get()
        assert asking.store is not None
        _require(asking.store, question)
        control = asking.store.manifest["config"].get("control_tokens", "token")
        ((ids, starts),) = self._subject.encode_documents([question.text], control=control)
        n_ctx = self._subject.n_ctx
        if n_ctx is not None and len(ids) >= n_ctx:
            raise QuestionError(413, f"the text has {len(ids):,} tokens; the subject reads {n_ctx:,} with BOS")
        try:
            if question.neurons:
                found = asking.neurons(question.text, question.neurons)
            else:
                found = asking.strongest(question.text, n=question.strongest)
        except SubjectError as error:
            raise QuestionError(400, str(error)) from error
        before = len(found.tokens) - len(ids)  # BOS
        return {**_with_shown(answer_object(found)), **_offsets(question.text, before, len(ids), starts)}

    def close(self) -> None:
        """Close the store."""
        self._asking.close()


def _require(store: Store, question: Question) -> None:
    """Refuse neurons that the store does not hold.

    Raises:
        QuestionError: there is one.
    """
    for layer, neuron in question.neurons:
        try:
            store.index_of(layer, neuron)
        except DamagedError:
            raise
        except StoreError as error:
            raise QuestionError(404, f"the store has no neuron {neuron} in layer {layer}") from error


def _with_shown(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer with texts as a page may show them, nothing hidden in them: `shown` of each token and neuron."""
    for token in answer["tokens"]:
        token["shown"] = visible(token["text"], limit=LONGEST)
    for one in answer["neurons"]:
        one["shown"] = visible(one["description"], limit=LONGEST)
    return answer


def _offsets(text: str, before: int, n: int, starts: Any) -> dict[str, Any]:
    """Where each token begins in the text, and where its words are, in code points; None of BOS and where unknown.

    Args:
        text: the text.
        before: tokens in front of it: BOS.
        n: tokens of it.
        starts: the offset of each of these; None where the tokenizer does not say.
    """
    found = [None] * n if starts is None else starts.tolist()
    return {"text": text, "starts": [None] * before + found, "words": [list(m.span()) for m in WORD.finditer(text)]}


def _close(asking: Asking) -> None:
    assert asking.store is not None
    asking.store.close()
