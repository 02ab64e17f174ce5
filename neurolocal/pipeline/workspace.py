"""What the stages work with: a store, and the vectors, subject and LLM that belong to it.

Invariant: everything heavy is loaded once, when it is first needed. What does not belong to the store is refused, with
what differs. Cost: nothing before the first use.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurolocal.config import Method, sha256
from neurolocal.errors import StoreError
from neurolocal.files import file_sha256
from neurolocal.literals import Dtype
from neurolocal.pipeline.journal import Journal
from neurolocal.records import SIDES, Neuron, Side, Site
from neurolocal.words import folded

if TYPE_CHECKING:
    from neurolocal.similarity import Vectors
    from neurolocal.store import Store
    from neurolocal.subject import Subject

FACTS = "facts"
"""The entry of a table's inputs that describes them and is never a reason to run again."""


@dataclass(frozen=True)
class Workspace:
    """A store, which part of it to look at, and where its subject, vectors and LLM are."""

    path: Path
    """The store's file."""
    layers: tuple[int, ...] | None = None
    """Layers to look at; None is all that were collected."""
    site: Site | None = None
    """Which of the store's sites; None is its first."""
    sides: tuple[Side, ...] = SIDES
    """Lists to look at, each by itself: the two ends, sign cases."""
    subject: str | None = None
    """None is the one that the store names."""
    tokenizer: str | None = None
    """Tokenizer folder or name, where the subject brings none; None is the one that the store names."""
    vectors: str = "glove"
    """`glove`, `corpus`, or a file of word vectors."""
    llm: str | None = None
    """A GGUF file; None describes from token counts alone."""
    replace: bool = False
    """Whether results of an LLM may be replaced by results without one."""
    method: Method = "default"
    """Method of the ranking: how verdicts are decided."""
    device: str | None = None
    """Torch device; None chooses."""
    say: Callable[[str], None] = print
    """Receives one line for the user at a time."""
    bar: bool = True
    """Whether to show progress bars."""

    @cached_property
    def store(self) -> Store:
        """The store, open for reading. After a write, `reload` opens the new file."""
        from neurolocal.store import Store

        return Store(self.path, site=self.site)

    def reload(self) -> None:
        """Open the store anew at its next use: a stage has replaced the file."""
        if "store" in vars(self):
            self.store.close()
            del vars(self)["store"]

    def places(self) -> list[tuple[int, Side]]:
        """Every layer and side to look at.

        Raises:
            StoreError: a layer or sign case that was not collected.
        """
        chosen = self.store.require_layers(self.layers)
        return [(layer, side) for layer in chosen for side in self.require_sides(layer)]

    def require_sides(self, layer: int) -> tuple[Side, ...]:
        """The sides asked for. Of the two ends, those that exist: pages of another site show one.

        Raises:
            StoreError: a sign case that was not collected, or none of them exists.
        """
        there = self.store.sides(layer)
        missing = [side for side in self.sides if side not in there]
        if self.store.imported and self.sides == SIDES:
            return tuple(side for side in self.sides if side in there)
        if missing:
            how = "Pages show the largest" if self.store.imported else "Collect with --sign-cases"
            raise StoreError(
                f"looking at {', '.join(missing)} of layer {layer}: {self.path} holds {', '.join(there)}. "
                f"{how}; choose another --side."
            )
        return self.sides

    def inputs(self, stage: str, layer: int, side: Side) -> dict[str, Any] | None:
        """What decides whether a stage's table is made again; None where the stage has not run."""
        made = self.store.inputs(stage, layer, side)
        return None if made is None else {name: value for name, value in made.items() if name != FACTS}

    def hash_of(self, stage: str, layer: int, side: Side) -> str | None:
        """What names a stage's table: the hash of what it was made from; None where the stage has not run."""
        made = self.inputs(stage, layer, side)
        return None if made is None else sha256(made)

    def journal(self, stage: str, layer: int, side: Side, made_from: Mapping[str, Any]) -> Journal:
        """Where the parts of a layer that are done are kept, beside the store."""
        return Journal(self.journal_path(stage, layer, side), made_from)

    def journal_path(self, stage: str, layer: int, side: Side) -> Path:
        """The file of a journal."""
        end = "" if side == "largest" else f"-{side}"
        return self.path.with_name(f"{self.path.name}.{stage}-{layer}{end}.jsonl")

    def neurons(self, layer: int, side: Side, chosen: Sequence[int]) -> list[Neuron]:
        """Neurons with their examples, and what was put in place of their peak words."""
        from neurolocal.perturbation import notebook_tokens

        tested = self.store.evidence("perturbation", layer, side)
        made = self.store.inputs("perturbation", layer, side) or {}
        notebook = tested is not None and made.get("config", {}).get("method") == "notebook"
        tokens = notebook_tokens(tested) if tested is not None and notebook else {}
        substitutes = None if tested is None or notebook else tested.substitutes
        return [Neuron(n, self.store.examples(layer, n, side), substitutes, tokens.get(n, ())) for n in chosen]

    @cached_property
    def collection(self) -> str:
        """Hash of what the examples depend on.

        Raises:
            StoreError: the collection is not finished.
        """
        m = self.store.manifest
        if not m["complete"]:
            raise StoreError(
                f"using the store {self.path}: its collection stopped at row {m['rows']:,}. "
                "Run the same `neurolocal collect` again to finish it."
            )
        rows = m["corpus"].get("rows_sha256")
        return sha256([m["subject"]["sha256"], m["tokenizer"]["sha256"], rows, m["config"], m["rows"]])

    @cached_property
    def word_counts(self) -> Counter[str]:
        """How often each word occurs in the stored rows, as it stands in the text."""
        return self.store.vocabulary.word_counts(self.store.iter_rows())

    @cached_property
    def loaded_vectors(self) -> Vectors:
        """The word vectors, loaded or trained."""
        from neurolocal.similarity import load_vectors

        texts = None
        if self.vectors == "corpus":
            vocabulary = self.store.vocabulary
            texts = [vocabulary.text(t for t in row if not vocabulary.special[t]) for row in self.store.iter_rows()]
        vectors = load_vectors(self.vectors, texts=texts, progress=self.bar)
        for note in vectors.notes:
            self.say(f"vectors: {note}")
        return vectors

    @cached_property
    def centred_vectors(self) -> Vectors:
        """The word vectors less the mean of the corpus's running words."""
        return self.loaded_vectors.centred(folded(self.word_counts))

    @cached_property
    def vectors_name(self) -> dict[str, str]:
        """What names the vectors, without training any."""
        if self.vectors == "corpus":
            return {"name": "corpus", "sha256": sha256(["fasttext", self.collection])}
        return {"name": self.loaded_vectors.name, "sha256": self.loaded_vectors.sha256}

    @cached_property
    def centred_name(self) -> dict[str, Any]:
        """What names the centred vectors; the corpus is named beside them."""
        return {**self.vectors_name, "centred": True}

    @cached_property
    def vector_facts(self) -> dict[str, Any]:
        """The quality of the centred vectors: agreement with people's judgements, and coverage of the corpus."""
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
        return self._load_subject(self.store.manifest["config"]["dtype"])

    def subject_in(self, dtype: Dtype) -> Subject:
        """The subject in a dtype: the loaded one if it is the collection's, else another copy, loaded anew.

        Raises:
            StoreError: as `loaded_subject`.
        """
        if dtype == self.store.manifest["config"]["dtype"]:
            return self.loaded_subject
        return self._load_subject(dtype)

    def require_subject(self) -> None:
        """Refuse a subject that is not there, before torch is imported.

        Raises:
            StoreError: the store holds no token ids.
            SubjectError: there is no such subject.
        """
        from neurolocal.subject.locate import require_subject

        manifest = self.store.manifest
        if self.store.imported and manifest["source"].get("tokens") != "ids":
            raise StoreError(
                f"running a subject on {self.path}: it was imported from pages, which hold tokens as text and not as "
                "ids. Find the ids with `neurolocal neuroscope replay STORE --subject S --out NEW`, and use NEW."
            )
        require_subject(self._subject_spec, tokenizer=self._tokenizer_spec)

    @property
    def _subject_spec(self) -> str:
        return self.subject or self.seen_from_here(self.store.manifest["subject"]["path"])

    @property
    def _tokenizer_spec(self) -> str | None:
        named = self.store.manifest["tokenizer"].get("path")
        return self.tokenizer or (named and self.seen_from_here(named))

    def _load_subject(self, dtype: Dtype) -> Subject:
        self.require_subject()
        from neurolocal.subject import load_subject

        manifest = self.store.manifest
        subject = load_subject(
            self._subject_spec, dtype=dtype, device=self.device, tokenizer=self._tokenizer_spec,
            untrained=manifest["subject"].get("untrained"),
        )  # fmt: skip
        weights, tokenizer = manifest["subject"]["sha256"], manifest["tokenizer"]["sha256"]
        for what, own, stored, same in (
            ("weights", subject.sha256, weights, subject.sha256 == weights),
            ("a tokenizer", subject.tokenizer_facts()["sha256"], tokenizer, subject.has_tokenizer(tokenizer)),
        ):
            if not same:
                raise StoreError(
                    f"using {self.path} with the subject {subject.name}: the store was made by other {what} "
                    f"(SHA-256 {stored[:12]}…, this is {own[:12]}…). Give the subject that it was collected with, "
                    "or collect again."
                )
        return subject

    def seen_from_here(self, named: str) -> str:
        """A path that the store names: as it is, or as seen from the store's folder if only that is there."""
        beside = self.path.parent / named
        return str(beside) if not Path(named).exists() and beside.exists() else named

    @cached_property
    def llm_name(self) -> dict[str, str] | None:
        """What names the LLM, without loading it; None where there is none.

        Raises:
            LLMError: it is no GGUF file that can be read.
        """
        if self.llm is None:
            return None
        from neurolocal.llm import require_llm

        path = require_llm(self.llm)
        return {"name": path.name, "sha256": file_sha256(path)}
