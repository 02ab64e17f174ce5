"""A section from a hub: a repository, or files of it, by huggingface_hub with a chosen endpoint.

Invariant: a file counts as whole by the SHA-256 that the hub gives (large files) or the SHA-1 of git (small ones).
Cost: one listing, and one download of what is missing, which resumes within a file.
"""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

from neurolocal.bundle.content import UNKNOWN, Content, Section, plain_url, require_network
from neurolocal.errors import NeurolocalError, first_line
from neurolocal.stage import Say

SPEC = re.compile(r"(?P<name>[\w.-]+(?:/[\w.-]+)?)(?:@(?P<revision>[\w./-]+))?(?::(?P<file>.+))?")

OTHER_FORMS = ("*.msgpack", "*.h5", "*.ot", "*.onnx", "*.tflite", "*.mlmodel", "onnx/*", "original/*", "coreml/*", ".*")
"""Weights of other frameworks, and hidden files: no run reads them."""

TOKENIZER_FILES = (
    "tokenizer*", "vocab*", "merges*", "special_tokens_map.json", "added_tokens.json", "config.json", "*.model",
    "chat_template*", "spiece*",
)  # fmt: skip
"""Files of a model repository that make a tokenizer."""


class HubSpec(NamedTuple):
    """What is asked of a hub."""

    name: str
    """The repository."""
    revision: str | None
    """Branch, tag or commit; None is the main branch."""
    file: str | None
    """One file or a pattern such as `*Q4_K_M*.gguf`; None is what a run reads."""


def hub_spec(text: str) -> HubSpec | None:
    """`OWNER/NAME[@REVISION][:FILE]` in its parts; None where it is no such name."""
    found = SPEC.fullmatch(text)
    return HubSpec(found["name"], found["revision"], found["file"]) if found and ".." not in text else None


class HubSection(Section):
    """Files of a repository: of a data set for the corpus, of a model otherwise."""

    def __init__(self, name: str, spec: HubSpec, *, endpoint: str | None = None, licence: str | None = None) -> None:
        """Name the section, the repository and the hub."""
        self.name, self.spec, self.endpoint, self.licence = name, spec, endpoint, licence
        self._kind = "dataset" if name == "corpus" else "model"
        self._listing: tuple[str, list[Content]] | None = None

    @property
    def entry(self) -> str:
        """What a run file names: the folder in the bundle, or the file where there is one alone."""
        contents = self.plan()
        folder = f"{self.name}/{self.spec.name.rpartition('/')[2]}"
        return contents[0].path if self.spec.file is not None and len(contents) == 1 else folder

    def plan(self) -> list[Content]:
        """What the hub lists, at one commit."""
        return self._listed()[1]

    def gather(self, root: Path, say: Say) -> list[Content]:
        """Download what is not whole."""
        commit, contents = self._listed()
        folder = f"{self.name}/{self.spec.name.rpartition('/')[2]}/"
        work = root / ".making" / self.name
        for content in contents:
            if content.whole(root):
                continue
            require_network(f"fetching {self.spec.name} from a hub")
            to = root / content.path
            to.parent.mkdir(parents=True, exist_ok=True)
            self._download(content.path.removeprefix(folder), commit, work).replace(to)
            if not content.whole(root):
                to.unlink()
                raise NeurolocalError(
                    f"fetching {content.path} from {content.origin}: what came is not what the hub lists (size or "
                    "checksum). The same command tries again."
                )
        return contents

    def _download(self, file: str, commit: str, work: Path) -> Path:
        from huggingface_hub import hf_hub_download

        try:
            return Path(
                hf_hub_download(
                    self.spec.name, file, repo_type=self._kind, revision=commit, local_dir=work, endpoint=self.endpoint
                )
            )
        except Exception as error:  # huggingface_hub passes on errors of several HTTP libraries
            raise NeurolocalError(
                f"fetching {file} of {self.spec.name} from a hub: {first_line(error)}. The same command resumes."
            ) from error

    def _listed(self) -> tuple[str, list[Content]]:
        if self._listing is None:
            require_network(f"listing {self.spec.name} on a hub")
            self._listing = self._ask()
        return self._listing

    def _ask(self) -> tuple[str, list[Content]]:
        from huggingface_hub import HfApi, constants

        constants.HF_HUB_DISABLE_TELEMETRY = True  # else it asks huggingface.co, too, whatever the endpoint
        api = HfApi(endpoint=self.endpoint)
        try:
            info: Any = api.repo_info(
                self.spec.name, repo_type=self._kind, revision=self.spec.revision, files_metadata=True
            )
        except Exception as error:
            raise NeurolocalError(
                f"bundling {self.name} {self.spec.name}: there is no such path, and the hub says: {first_line(error)}. "
                "Check the path or the name, --endpoint, and access to the repository."
            ) from error
        names = self._wanted([sibling.rfilename for sibling in info.siblings])
        licence = self.licence or str((info.card_data or {}).get("license") or UNKNOWN)
        base = f"{plain_url(api.endpoint)}/{'datasets/' if self._kind == 'dataset' else ''}{self.spec.name}"
        folder = f"{self.name}/{self.spec.name.rpartition('/')[2]}"
        return info.sha, [
            Content(
                path=f"{folder}/{sibling.rfilename}",
                size=sibling.size,
                licence=licence,
                origin=f"{base}/resolve/{info.sha}/{sibling.rfilename}",
                sha256=sibling.lfs.sha256 if sibling.lfs else None,
                git_blob=None if sibling.lfs else sibling.blob_id,
            )
            for sibling in info.siblings
            if sibling.rfilename in names
        ]

    def _wanted(self, names: list[str]) -> set[str]:
        """Which files of a repository are fetched."""
        if self.spec.file is not None:
            found = {name for name in names if fnmatch(name, self.spec.file)}
        elif self.name == "corpus":
            from neurolocal.corpus.readers import reader_of

            found = {name for name in names if reader_of(Path(name)) is not None}
        elif self.name == "tokenizer":
            found = {name for name in names if any(fnmatch(name, one) for one in TOKENIZER_FILES)}
        elif self.name == "subject":
            found = {name for name in names if not any(fnmatch(name, one) for one in OTHER_FORMS)}
            if any(name.endswith(".safetensors") for name in found):
                found = {name for name in found if not name.endswith((".bin", ".pt", ".pth", ".gguf"))}
        else:
            raise NeurolocalError(
                f"bundling {self.name} {self.spec.name}: name a file of it, as {self.spec.name}:FILE. It has "
                f"{', '.join(names[:8])}."
            )
        if not found:
            said = f"no file {self.spec.file}" if self.spec.file else f"no file that a {self.name} needs"
            raise NeurolocalError(f"bundling {self.name} {self.spec.name}: {said}. It has {', '.join(names[:8])}.")
        return found
