"""Making a bundle from local files and from a hub on loopback: whole files are not fetched again."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from bundle_twins import TEXTS, small_bundle, write_corpus
from hub_twins import COMMIT, Hub, serving
from listeners import silent
from packaging.requirements import Requirement
from small_run import write_run

from neurolocal.bundle import Bundle, make_bundle, plan_bundle, verify
from neurolocal.bundle.content import plain_url
from neurolocal.bundle.hub import HubSection, hub_spec
from neurolocal.bundle.local import LocalSection
from neurolocal.bundle.pip import Pip, Target, this_platform, this_python
from neurolocal.bundle.sources import bundle_of
from neurolocal.bundle.volumes import open_volumes
from neurolocal.bundle.wheels import Wheels
from neurolocal.errors import NeurolocalError
from neurolocal.pipeline.run import read_run

LARGE = bytes(range(256)) * 40_000  # 10 MB


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("NEUROLOCAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("NEUROLOCAL_OFFLINE", raising=False)


@pytest.fixture
def hub():
    model = {
        "config.json": b"{}",
        "model.safetensors": LARGE,
        "pytorch_model.bin": b"p" * 2000,
        "onnx/model.onnx": b"o" * 2000,
        "tokenizer.json": b'{"a": 1}',
        ".gitattributes": b"x",
    }
    data = {"README.md": b"---", "a/part0.jsonl": b'{"text": "a"}\n', "part1.jsonl.gz": b"z" * 1500, "image.png": b"i"}
    files = {
        "models/some/model": model,
        "datasets/some/texts": data,
        "models/some/llms": {"q4.gguf": b"GGUF", "q8.gguf": b"G"},
    }
    with serving(Hub(files)) as hub:
        yield hub


def test_folders_and_links_become_plain_files(tmp_path: Path) -> None:
    texts = write_corpus(tmp_path / "texts")
    (texts / ".hidden").write_text("no")
    (texts / "a" / "linked.txt").symlink_to(texts / "three.txt")
    (tmp_path / "texts" / "LICENSE").write_text("free")
    root = small_bundle(tmp_path / "b", texts)
    manifest = verify(root)
    paths = [entry["path"].removeprefix("corpus/texts/") for entry in manifest["files"]]
    assert sorted(paths) == sorted([*TEXTS, "a/linked.txt", "LICENSE"])
    assert not any(path.is_symlink() for path in root.rglob("*"))
    assert {entry["licence"] for entry in manifest["files"]} == {"see LICENSE"}
    assert str(tmp_path) not in (root / "manifest.json").read_text()


def test_made_again_it_changes_only_what_changed(tmp_path: Path) -> None:
    texts = write_corpus(tmp_path / "texts")
    root = small_bundle(tmp_path / "b", texts)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*.txt")}
    (texts / "three.txt").write_text("four")
    (texts / "a" / "one.txt").rename(texts / "a" / "other.txt")
    small_bundle(root, texts)
    verify(root)
    assert (root / "corpus/texts/three.txt").read_text() == "four"
    assert not (root / "corpus/texts/a/one.txt").exists()
    assert (root / "corpus/texts/a/b/two.txt").stat().st_mtime_ns == before[root / "corpus/texts/a/b/two.txt"]


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    texts = write_corpus(tmp_path / "texts")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "mine.txt").write_text("mine")
    with pytest.raises(NeurolocalError, match=r"it holds something else\. Choose a new folder"):
        small_bundle(tmp_path / "b", texts)
    (tmp_path / "b" / "manifest.json").write_text('{"format": "other"}')
    with pytest.raises(NeurolocalError, match=r"it holds something else"):
        small_bundle(tmp_path / "b", texts)
    assert (tmp_path / "b" / "mine.txt").read_text() == "mine"


def test_volumes_of_any_size_hold_the_same(tmp_path: Path, rng) -> None:
    texts = write_corpus(tmp_path / "texts")
    size = int(rng.integers(1 << 16, 400_000))
    folder = small_bundle(tmp_path / "b", texts, volume_size=size)
    assert folder == tmp_path / "b.volumes"
    small_bundle(tmp_path / "b", texts, volume_size=300_000)  # fewer: none of the earlier ones is left
    assert sorted(path.name for path in folder.iterdir()) == [
        "manifest.json",
        "verify.py",
        "volume-0001",
        "volume-0002",
    ]
    verify(folder)
    for name, text in TEXTS.items():
        assert (folder / "corpus/texts" / name).read_text() == text


def test_volumes_too_small_and_a_folder_in_use(tmp_path: Path) -> None:
    with pytest.raises(NeurolocalError, match="a volume has at least 65,536 bytes"):
        open_volumes(tmp_path, 1000)
    for name in ("mine", "volume-control.txt", "manifest.json.old"):
        (tmp_path / name).write_text("x")
        with pytest.raises(NeurolocalError, match=f"it holds {name}"):
            open_volumes(tmp_path, 1 << 20)
        (tmp_path / name).unlink()
    texts = write_corpus(tmp_path / "texts")
    with pytest.raises(NeurolocalError, match="a volume has at least 65,536 bytes"):
        small_bundle(tmp_path / "b", texts, volume_size=1000)
    assert not list((tmp_path / "b").rglob("*.txt")), "files were gathered before the size was refused"


def test_a_bundle_that_another_process_makes_is_left_alone(tmp_path: Path) -> None:
    texts, root = write_corpus(tmp_path / "texts"), tmp_path / "new" / "b"
    root.parent.mkdir()
    holds = (
        "import sys; from pathlib import Path; from neurolocal.files import locked\n"
        "with locked(Path(sys.argv[1]), doing='x'): print('held', flush=True); input()"
    )
    command = [sys.executable, "-c", holds, str(root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(NeurolocalError, match=f"is being written by process {other.pid}"):
            small_bundle(root, texts)
        other.communicate(b"\n", timeout=600)
    assert not root.exists()
    verify(small_bundle(root, texts))


@pytest.mark.parametrize("name", ["a:b.txt", "nul.txt", "\udcff.txt", "a" * 201])
def test_what_verify_would_refuse_is_not_carried(name: str, tmp_path: Path) -> None:
    texts = write_corpus(tmp_path / "texts")
    (texts / name).write_text("x")
    with pytest.raises(NeurolocalError, match=r"the path corpus/texts/.*Rename that file") as error:
        small_bundle(tmp_path / "b", texts)
    assert str(error.value).isascii()
    assert not (tmp_path / "b" / "manifest.json").exists()


def test_names_that_differ_in_case_alone_are_not_carried(tmp_path: Path) -> None:
    texts = write_corpus(tmp_path / "texts")
    (texts / "Three.txt").write_text("x")
    with pytest.raises(NeurolocalError, match=r"three\.txt occurs twice, or is taken; verify would refuse it"):
        small_bundle(tmp_path / "b", texts)
    assert not (tmp_path / "b" / "manifest.json").exists()


@pytest.mark.parametrize("given", ["..", "."])
def test_a_folder_named_by_dots_keeps_its_name(given: str, tmp_path: Path, monkeypatch) -> None:
    texts = write_corpus(tmp_path / "texts")
    monkeypatch.chdir(texts / "a" if given == ".." else texts)
    manifest = verify(small_bundle(tmp_path / "b", Path(given)))
    assert {entry["path"] for entry in manifest["files"]} == {f"corpus/texts/{name}" for name in TEXTS}


def test_a_hub_cannot_name_a_file_outside_the_bundle(tmp_path: Path) -> None:
    with serving(Hub({"models/some/model": {"a/../../../out.json": b"{}"}})) as hub:
        section = HubSection("subject", hub_spec("some/model"), endpoint=hub.url)
        with pytest.raises(NeurolocalError, match="may lead out of the folder"):
            make_bundle(Bundle([section]), tmp_path / "b", say=silent)


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("some/model", ("some/model", None, None)),
        ("gpt2", ("gpt2", None, None)),
        ("some/model@v1:a/*.gguf", ("some/model", "v1", "a/*.gguf")),
        ("../model", None),
        ("some/model/more", None),
        ("", None),
    ],
)
def test_names_on_a_hub(text: str, spec) -> None:
    assert hub_spec(text) == spec


def test_a_model_and_a_corpus_from_a_hub(hub: Hub, tmp_path: Path) -> None:
    sections = [HubSection(name, hub_spec(f"some/{of}"), endpoint=hub.url) for name, of in
                (("subject", "model"), ("tokenizer", "model"), ("corpus", "texts"))]  # fmt: skip
    plan = plan_bundle(Bundle(sections))
    assert hub.asked == []
    assert [c.path for c in plan["subject"]] == [
        f"subject/model/{f}" for f in ("config.json", "model.safetensors", "tokenizer.json")
    ]
    assert [c.size for c in plan["subject"]] == [2, len(LARGE), 8]
    assert [c.path for c in plan["tokenizer"]] == ["tokenizer/model/config.json", "tokenizer/model/tokenizer.json"]
    root = make_bundle(Bundle(sections), tmp_path / "b", say=silent)
    manifest = verify(root)
    assert (root / "subject/model/model.safetensors").read_bytes() == LARGE
    assert (root / "corpus/texts/a/part0.jsonl").read_bytes() == b'{"text": "a"}\n'
    found = {entry["path"]: entry for entry in manifest["files"]}
    assert len(found) == 7
    assert (
        found["corpus/texts/part1.jsonl.gz"]["origin"]
        == f"{hub.url}/datasets/some/texts/resolve/{COMMIT}/part1.jsonl.gz"
    )
    assert {entry["licence"] for entry in manifest["files"]} == {"mit"}
    asked = len(hub.asked)
    make_bundle(Bundle(sections), root, say=silent)
    assert len(hub.asked) == asked, "whole files were fetched again"
    (root / "tokenizer/model/config.json").write_bytes(b"[]")
    make_bundle(Bundle(sections), root, say=silent)
    assert hub.asked[asked:] == ["config.json"]
    verify(root)


def test_a_download_that_was_cut_resumes_within_the_file(hub: Hub, tmp_path: Path, monkeypatch) -> None:
    section = HubSection("subject", hub_spec("some/model:model.safetensors"), endpoint=hub.url)
    work = tmp_path / "b" / ".making" / "subject"
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1 << 20)
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    hub.cut["model.safetensors"] = 4_000_000
    root = make_bundle(Bundle([section]), tmp_path / "b", say=silent)
    assert (root / "subject/model/model.safetensors").read_bytes() == LARGE
    assert not work.exists()
    first, *rest = hub.asked
    assert first == "model.safetensors"
    assert rest
    assert all(" from " in one for one in rest), hub.asked


def test_what_comes_must_be_what_is_listed(hub: Hub, tmp_path: Path) -> None:
    hub.wrong.add("model.safetensors")
    section = HubSection("subject", hub_spec("some/model"), endpoint=hub.url)
    with pytest.raises(NeurolocalError, match=r"what came is not what the hub lists"):
        make_bundle(Bundle([section]), tmp_path / "b", say=silent)
    assert not (tmp_path / "b" / "manifest.json").exists()
    assert not (tmp_path / "b" / "subject/model/model.safetensors").exists()
    hub.wrong.clear()
    verify(make_bundle(Bundle([section]), tmp_path / "b", say=silent))


@pytest.mark.parametrize(
    ("name", "spec", "says"),
    [
        ("subject", "some/other", "there is no such path, and the hub says"),
        ("llm", "some/llms", r"name a file of it, as some/llms:FILE\. It has q4\.gguf, q8\.gguf"),
        ("llm", "some/llms:q5.gguf", r"no file q5\.gguf\. It has q4"),
        ("corpus", "some/texts:*.parquet", r"no file \*\.parquet"),
    ],
)
def test_what_a_hub_does_not_have(name: str, spec: str, says: str, hub: Hub) -> None:
    with pytest.raises(NeurolocalError, match=says):
        HubSection(name, hub_spec(spec), endpoint=hub.url).plan()


def test_offline_refuses_the_hub_and_needs_none_for_local_files(hub: Hub, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("NEUROLOCAL_OFFLINE", "1")
    with pytest.raises(NeurolocalError, match="NEUROLOCAL_OFFLINE is set"):
        HubSection("subject", hub_spec("some/model"), endpoint=hub.url).plan()
    assert hub.asked == []
    verify(small_bundle(tmp_path / "b", write_corpus(tmp_path / "texts")))


def test_a_run_is_carried_with_its_settings(fixtures: Path, hub: Hub, tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path, fixtures / "stories260k"))
    run = replace(run, llm="some/llms:q4.gguf")
    root = make_bundle(bundle_of(run, endpoint=hub.url), tmp_path / "b", say=silent)
    assert verify(root)["run"] == "RUN.toml"
    table = tomllib.loads((root / "RUN.toml").read_text())["run"]
    assert table["subject"] == "subject/stories260k"
    assert table["llm"] == "llm/llms/q4.gguf"
    carried = read_run(root / "RUN.toml")
    assert carried.configs == run.configs
    assert (carried.layers, carried.sides, carried.device) == (run.layers, run.sides, run.device)
    assert carried.corpus == root / "corpus/corpus.jsonl"
    assert carried.vectors == str(root / "vectors/vectors.txt")
    assert carried.store.resolve() == (tmp_path / "results" / "s.h5").resolve()


def test_one_file_for_two_purposes_is_carried_once(stories_gguf: Path, tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path, stories_gguf))
    bundle = bundle_of(replace(run, llm=str(stories_gguf)), sections=("subject", "llm", "corpus"))
    assert [section.name for section in bundle.sections] == ["subject", "corpus"]
    table = tomllib.loads(bundle.run)["run"]
    assert table["llm"] == table["subject"] == f"subject/{stories_gguf.name}"
    without = bundle_of(replace(run, llm=str(stories_gguf)), sections=("subject", "corpus"))
    assert tomllib.loads(without.run)["run"]["llm"] == f"subject/{stories_gguf.name}"
    assert not any("llm" in note for note in without.notes)


def test_sections_that_are_not_carried(fixtures: Path, tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path, fixtures / "stories260k"))
    bundle = bundle_of(run, sections=("corpus",))
    assert [section.name for section in bundle.sections] == ["corpus"]
    assert bundle.run is None
    with pytest.raises(NeurolocalError, match="nothing to carry"):
        bundle_of(run, sections=("llm",))
    with pytest.raises(NeurolocalError, match="no such path, and it is no name on a hub"):
        bundle_of(replace(run, subject="models/no/where"))


def test_what_the_run_names_and_is_not_carried_stays_in_the_run(fixtures: Path, tmp_path: Path) -> None:
    run = replace(read_run(write_run(tmp_path, fixtures / "stories260k")), llm="some/llms:q4.gguf")
    bundle = bundle_of(run, sections=("subject", "corpus"))
    table = tomllib.loads(bundle.run)["run"]
    assert (table["vectors"], table["llm"]) == ("../vectors/vectors.txt", "some/llms:q4.gguf")
    assert table["subject"] == "subject/stories260k"
    said: list[str] = []
    root = make_bundle(bundle, tmp_path / "b", say=said.append)
    assert "vectors: not carried; the run looks for ../vectors/vectors.txt, seen from the bundle" in said
    assert verify(root, say=silent)["run"] == "RUN.toml"
    (tmp_path / "vectors").mkdir()
    (tmp_path / "vectors" / "vectors.txt").write_bytes((tmp_path / "vectors.txt").read_bytes())
    assert Path(read_run(root / "RUN.toml").vectors).resolve() == tmp_path / "vectors" / "vectors.txt"


@pytest.mark.parametrize(
    "project", ["neurolocal>=0.1,<2", "neurolocal [site] ~= 0.1", "neuro-local==0.1.0", "neurolocal"]
)
def test_the_project_may_be_any_requirement(project: str, tmp_path: Path) -> None:
    asked: list[list[str]] = []
    name = "neuro_local" if "neuro-local" in project else "Neurolocal"
    url = "https://index.example/n-0.1.0-py3-none-any.whl"

    class Recorded(Pip):
        def __call__(self, *arguments: object, **_: object) -> None:
            asked.append([str(one) for one in arguments])
            found = {"download_info": {"url": url}, "metadata": {"name": name, "version": "0.1.0"}}
            Path(asked[0][asked[0].index("--report") + 1]).write_text(json.dumps({"install": [found]}))

    def wheels(project: str) -> Wheels:
        target, pip = Target(this_python(), this_platform()), Recorded(None, {})
        return Wheels(project, extras="all,bundle", constraints=None, target=target, pip=pip)

    (package,) = wheels(project)._resolved(tmp_path)
    assert package.version == "0.1.0"
    wanted = Requirement(asked[0][-1])
    assert wanted.name == Requirement(project).name
    assert wanted.specifier == Requirement(project).specifier
    assert wanted.extras == {"all", "bundle"} | Requirement(project).extras
    with pytest.raises(NeurolocalError, match="no source tree, no wheel, and no requirement"):
        wheels("no/where")._resolved(tmp_path)


def test_a_linked_folder_is_carried_once_and_a_ring_of_links_ends(tmp_path: Path) -> None:
    texts, other = tmp_path / "texts", tmp_path / "other"
    for folder in (texts, other):
        folder.mkdir()
    (texts / "a.txt").write_text("a")
    (other / "b.txt").write_text("b")
    (other / ".hidden").mkdir()
    (other / "ring").symlink_to(texts)
    (texts / "linked").symlink_to(other)
    (texts / "again").symlink_to(other)
    places = [content.path for content in LocalSection("corpus", texts).plan()]
    assert places == ["corpus/texts/a.txt", "corpus/texts/again/b.txt"]


def test_a_folder_with_a_manifest_nested_deep_is_something_else(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("[" * 100_000)
    with pytest.raises(NeurolocalError, match="it holds something else"):
        make_bundle(Bundle([LocalSection("corpus", tmp_path)]), tmp_path, say=silent)


def test_addresses_lose_their_secrets() -> None:
    assert plain_url("https://me:secret@index.example:8/a/b.whl?token=1#sha256=2") == "https://index.example:8/a/b.whl"
    assert plain_url("file:///home/me/wheels/b.whl") == "local: b.whl"


def test_a_missing_manifest_means_not_complete(tmp_path: Path, monkeypatch) -> None:
    texts = write_corpus(tmp_path / "texts")
    root = small_bundle(tmp_path / "b", texts)

    class Broken(LocalSection):
        def gather(self, root, say):
            super().gather(root, say)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_bundle(Bundle([Broken("corpus", texts)]), root, say=silent)
    assert not (root / "manifest.json").exists()
    small_bundle(root, texts)
    assert json.loads((root / "manifest.json").read_text())["files"]
