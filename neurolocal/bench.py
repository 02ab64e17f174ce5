"""What the evidence stages work with: a store, and the vectors, subject and LLM that go with it.

Invariant: heavy things are loaded once, when first asked for; what does not belong to the store is refused, with what
differs. Cost: nothing before the first question.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurolocal.cache import file_sha256
from neurolocal.config import sha256
from neurolocal.errors import StoreError
from neurolocal.records import SIDES, Side, Site
from neurolocal.words import folded

if TYPE_CHECKING:
    from neurolocal.similarity import Vectors
    from neurolocal.store import Store
    from neurolocal.subject import Subject


@dataclass(frozen=True)
class Bench:
    """What the stages work with: a store, and where to find the rest."""

    store: Path
    layers: tuple[int, ...] | None = None
    """Layers to look at; None is all that were collected."""
    site: Site | None = None
    """Which of the store's sites; None is its first."""
    sides: tuple[Side, ...] = SIDES
    """Which lists to look at, each by itself: the two ends, sign cases."""
    subject: str | None = None
    """None is the one that the store names."""
    tokenizer: str | None = None
    """Tokenizer folder or name, where the subject brings none; None is the one that the store names."""
    vectors: str = "glove"
    """`glove`, `corpus`, or a file of word vectors."""
    llm: str | None = None
    """A GGUF file; None describes from token counts alone."""
    device: str | None = None
    say: Callable[[str], None] = print
    bar: bool = True

    @cached_property
    def open(self) -> Store:
        """The store, kept open: what a stage writes later replaces the file, not what is open here."""
        from neurolocal.store import Store

        return Store(self.store, site=self.site)

    def require_sides(self, layer: int) -> tuple[Side, ...]:
        """The sides asked for; of the two ends those that there are (pages of another site show one).

        Raises:
            StoreError: a sign case that was not collected, or none of them is there.
        """
        there = self.open.sides(layer)
        missing = [side for side in self.sides if side not in there]
        if self.open.imported and self.sides == SIDES:
            return tuple(side for side in self.sides if side in there)
        if missing:
            how = "Pages show the largest" if self.open.imported else "Collect with --sign-cases"
            raise StoreError(
                f"looking at {', '.join(missing)} of layer {layer}: {self.store} holds {', '.join(there)}. "
                f"{how}; choose another --side."
            )
        return self.sides

    @cached_property
    def collection(self) -> str:
        """Hash of what the examples depend on."""
        m = self.open.manifest
        if not m["complete"]:
            raise StoreError(
                f"using the store {self.store}: its collection stopped at row {m['rows']:,}. "
                "Run the same `neurolocal collect` again to finish it."
            )
        rows = m["corpus"].get("rows_sha256")
        return sha256([m["subject"]["sha256"], m["tokenizer"]["sha256"], rows, m["config"], m["rows"]])

    @cached_property
    def word_counts(self) -> Counter[str]:
        """How often each word occurs in the stored rows, as it stands in the text."""
        return self.open.vocabulary.word_counts(self.open.iter_rows())

    @cached_property
    def loaded_vectors(self) -> Vectors:
        """The word vectors, loaded or trained."""
        from neurolocal.similarity import load_vectors

        texts = None
        if self.vectors == "corpus":
            vocabulary = self.open.vocabulary
            texts = [vocabulary.text(t for t in row if not vocabulary.special[t]) for row in self.open.iter_rows()]
        vectors = load_vectors(self.vectors, texts=texts, progress=self.bar)
        for note in vectors.notes:
            self.say(f"vectors: {note}")
        return vectors

    @cached_property
    def centred_vectors(self) -> Vectors:
        """The word vectors less the mean of the corpus's running words."""
        return self.loaded_vectors.centred(folded(self.word_counts))

    @cached_property
    def centred_name(self) -> dict[str, Any]:
        """What names the centred vectors; the corpus is named beside them."""
        return {**self.vectors_name, "centred": True}

    @cached_property
    def vectors_name(self) -> dict[str, str]:
        """What names the vectors, without training any."""
        if self.vectors == "corpus":
            return {"name": "corpus", "sha256": sha256(["fasttext", self.collection])}
        return {"name": self.loaded_vectors.name, "sha256": self.loaded_vectors.sha256}

    @cached_property
    def vector_facts(self) -> dict[str, Any]:
        """What the centred vectors know: their agreement with people's judgements, and how much of the corpus."""
        from neurolocal.similarity import vector_facts

        facts = vector_facts(self.centred_vectors, self.word_counts)
        self.say(f"vectors: {facts['said']}")
        for warning in facts["warnings"]:
            self.say(f"vectors: {warning}")
        return facts

    @cached_property
    def loaded_subject(self) -> Subject:
        """The subject, in the dtype of the collection.

        Raises:
            StoreError: the store was made by other weights or another tokenizer.
        """
        from neurolocal.subject import load_subject

        there = self.open.manifest
        if self.open.imported and there["source"].get("tokens") != "ids":
            raise StoreError(
                f"running a subject on {self.store}: it was imported from pages, which hold tokens as text and not as "
                "ids. Find the ids with `neurolocal neuroscope replay STORE --subject S --out NEW`, and use NEW."
            )
        subject = load_subject(
            self.subject or there["subject"]["path"],
            dtype=there["config"]["dtype"],
            device=self.device,
            tokenizer=self.tokenizer or there["tokenizer"].get("path"),
        )
        for what, own, stored in (
            ("weights", subject.sha256, there["subject"]["sha256"]),
            ("a tokenizer", subject.tokenizer_facts()["sha256"], there["tokenizer"]["sha256"]),
        ):
            if own != stored:
                raise StoreError(
                    f"using {self.store} with the subject {subject.name}: the store was made by other {what} "
                    f"(SHA-256 {stored[:12]}…, this is {own[:12]}…). Give the subject that it was collected with, "
                    "or collect again."
                )
        return subject

    @cached_property
    def llm_name(self) -> dict[str, str] | None:
        """What names the LLM, without loading it; a missing file is said here.

        Raises:
            LLMError: no such file.
        """
        from neurolocal.errors import LLMError

        if self.llm is None:
            return None
        path = Path(self.llm)
        if not path.is_file():
            raise LLMError(f"loading the LLM {path}: there is no such file. Pass --llm FILE.gguf, or leave it away.")
        return {"name": path.name, "sha256": file_sha256(path)}
