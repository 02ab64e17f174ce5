"""Pages that the known readers accept and that say what the store says; hostile text; what has no place on a page."""

import html
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reader_twins import RefusedError, by_scripts, by_sections, by_splitting
from small_run import TEXT, write_corpus

from neurolocal.config import CollectConfig
from neurolocal.errors import ConfigError, StoreError
from neurolocal.neuroscope.export import model_folder, whole_rows
from neurolocal.neuroscope.export.model_folder import folder_name
from neurolocal.neuroscope.export.neuron_page import NeuronPage, PageText, numbers, page_text
from neurolocal.neuroscope.export.website import export_site
from neurolocal.neuroscope.export.whole_rows import LayerSlice, groups
from neurolocal.neuroscope.form import section_checksum
from neurolocal.store import Store

ROW, K = 64, 20
HOSTILE = [
    "</script>", "<hr>", "\n<hr>\n", '"', "'", ", ", '], "values', '{"tokens": ', ', "values": ', "\\", "\u202e", "-->",
    "<h4>Max Act: <b>9</b>", "\n", "\ufffd", "😀", "\u2028", "\0", "<!-- neurolocal sha256 ", "</details>", "", " a",
    "\r\n", "ColoredTokens, {}", "&lt;", "&amp;", "]", "values", "\ud800",
]  # fmt: skip


def silent(line: str) -> None:
    """Takes what a stage says."""


def collected(folder: Path, fixtures: Path, **more) -> Path:
    """A store of stories260k."""
    from neurolocal.pipeline.collect import Collection, collect_store
    from neurolocal.subject import load_subject

    config = CollectConfig(**({"row_length": ROW, "k": K, "before": 9, "after": 4, "sample": 8, "logits": 0} | more))
    corpus = write_corpus(folder / "corpus.jsonl", documents=14)
    subject = load_subject(str(fixtures / "stories260k"), dtype=config.dtype)
    collect_store(Collection(subject, corpus, folder / "s.h5", config), say=silent, bar=False)
    return folder / "s.h5"


def export(path: Path, out: Path, *, site=None, **more):
    """Export as the command does."""
    from neurolocal.subject import load_subject

    with Store(path, site=site) as store:
        manifest = store.manifest
        return export_site(
            store, out, subject=lambda: load_subject(manifest["subject"]["path"], dtype=manifest["config"]["dtype"]),
            **({"bar": False} | more),
        )  # fmt: skip


@pytest.fixture(scope="module")
def made(fixtures, tmp_path_factory) -> tuple[Path, Path]:
    """A store, and the site made of two of its layers."""
    folder = tmp_path_factory.mktemp("export")
    store = collected(folder, fixtures, layers=(0, 3), neurons=(0, 1, 5, 90, 171))
    done = export(store, folder / "site", model="a/stories", dataset="small <b>")
    assert (done.pages, done.short, done.left_out) == (10, 0, [])
    return store, folder / "site"


def texts_of(rng: np.random.Generator, n: int = 20, *, tokens: list[str] | None = None) -> list[PageText]:
    """Any texts."""
    found = []
    for _ in range(n):
        own = tokens or [f" t{i}" for i in rng.integers(0, 99, rng.integers(1, 150))]
        values = rng.normal(size=len(own)).astype(np.float32)
        found.append(PageText(int(rng.integers(0, 1 << 40)), int(rng.integers(0, len(own))), own, values))
    return found


def page_of(texts: list[PageText], **more) -> str:
    return page_text(
        NeuronPage(**({"model": "m", "dataset": "d", "layer": 2, "neuron": 7, "texts": texts, "facts": {}} | more))
    )


def accepted(page: str, texts: list[PageText], *, layer: int = 2, neuron: int = 7) -> None:
    """All three readers take the page, and give back what it was made from."""
    rounded = [[float(f"{v:.6f}") for v in text.values.tolist()] for text in texts]
    windows = [slice(max(t.position - 50, 0), t.position + 11) for t in texts]
    first = by_scripts(page)
    assert [f.values for f in first] == [v[w] for v, w in zip(rounded, windows, strict=True)]
    for found, text, window in zip(first, texts, windows, strict=True):
        if not any(set('",\\<>&') & set(t) or not t.isascii() or not t.isprintable() or not t for t in text.tokens):
            assert found.tokens == text.tokens[window]
    figures = by_sections(page, layer=layer, neuron=neuron)
    assert [(f.tokens, f.values, f.position, f.row) for _, f in figures] == [
        (list(t.tokens), v, t.position, t.row) for t, v in zip(texts, rounded, strict=True)
    ]
    reach = max(abs(float(t.values[t.position])) for t in texts)
    for said, text in zip((s for s, _ in figures), texts, strict=True):
        assert float(said["range"][0]) == -float(said["range"][1]) == pytest.approx(reach, abs=5.1e-5)
        assert float(said["act"][0]) == pytest.approx(text.values[text.position], abs=5.1e-5)
        assert float(said["act"][1]) == pytest.approx(text.values.min(), abs=5.1e-5)
        assert said["maxValue"] == -said["minValue"] == float(f"{reach:.6f}")
    if len(texts) == 20:
        most, second = by_splitting(page)
        assert most == pytest.approx(texts[0].values[texts[0].position], abs=5.1e-5)
        assert [(f.tokens, f.values) for f in second] == [
            (list(t.tokens), v) for t, v in zip(texts, rounded, strict=True)
        ]
    else:
        with pytest.raises(RefusedError):
            by_splitting(page)


def test_every_page_of_a_store_is_accepted_by_three_readers_and_says_what_the_store_says(made):
    path, site = made
    with Store(path) as store:
        for layer in (0, 3):
            top = store.top(layer, "largest")
            for i, neuron in enumerate(store.neurons(layer).tolist()):
                page = (site / "stories" / str(layer) / f"{neuron}.html").read_text("utf-8")
                found = [f for _, f in by_sections(page, layer=layer, neuron=neuron)]
                assert len(found) == K
                for rank, one in enumerate(found):
                    assert (one.row, one.position) == (top.row[i, rank], top.position[i, rank])
                    tokens = store.row(one.row)
                    assert one.tokens == store.vocabulary.str_tokens(tokens)
                    assert one.values[one.position] == float(f"{top.activation[i, rank]:.6f}")
                    assert max(one.values[1:]) == one.values[one.position]  # BOS does not compete
                    places = np.arange(one.position - 9, one.position + 5)
                    inside = (places >= 0) & (places < len(tokens))
                    window = [float(f"{v:.6f}") for v in top.window[i, rank][inside].tolist()]
                    assert [one.values[p] for p in places[inside]] == window
                accepted(page, [PageText(f.row, f.position, f.tokens, np.float64(f.values)) for f in found],
                         layer=layer, neuron=neuron)  # fmt: skip


def test_outside_of_the_window_stands_what_the_subject_says(made, fixtures, rng):
    import torch

    from neurolocal.subject import load_subject

    path, site = made
    subject = load_subject(str(fixtures / "stories260k"))
    with Store(path) as store:
        for layer in (0, 3):
            neuron = int(rng.choice(store.neurons(layer)))
            page = (site / "stories" / str(layer) / f"{neuron}.html").read_text("utf-8")
            _, one = by_sections(page, layer=layer, neuron=neuron)[int(rng.integers(0, K))]
            row = torch.from_numpy(store.row(one.row).astype(np.int64))[None]
            own = subject.activations(row, layer)[0, :, neuron].numpy()
            np.testing.assert_allclose(one.values, own, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("memory", [1, 3 * K * ROW * 4, 7 * K * ROW * 4])
def test_the_same_pages_whatever_the_groups(made, tmp_path, monkeypatch, memory):
    path, site = made
    monkeypatch.setattr(whole_rows, "MEMORY", memory)
    monkeypatch.setattr(whole_rows, "BATCH", 3)
    export(path, tmp_path, model="a/stories", dataset="small <b>")
    for page in sorted(site.glob("stories/*/*.html")):
        other = tmp_path / page.relative_to(site)
        assert close(page.read_text("utf-8"), other.read_text("utf-8")), page


def close(a: str, b: str) -> bool:
    """The same page but for the last digit of values: batches of another size round otherwise."""
    pattern = re.compile(r"-?\d+\.\d{6}")
    mask = re.compile(r"[0-9a-f]{32,64}")
    same = mask.sub("", pattern.sub("", a)) == mask.sub("", pattern.sub("", b))
    return same and np.allclose(*(np.array(pattern.findall(x), float) for x in (a, b)), atol=3e-6)


def test_groups_cover_every_neuron_once_in_order(rng):
    for _ in range(50):
        sizes = [(layer, int(n)) for layer, n in enumerate(rng.integers(0, 9, rng.integers(1, 6)))]
        room = int(rng.integers(1, 12))
        found = list(groups(sizes, room))
        every = [(part.layer, i) for group in found for part in group for i in range(part.low, part.high)]
        assert every == [(layer, i) for layer, n in sizes for i in range(n)]
        assert all(sum(p.high - p.low for p in group) == room for group in found[:-1])
        assert all(len({p.layer for p in group}) == len(group) for group in found)
    assert list(groups([(4, 5)], 3)) == [[LayerSlice(4, 0, 3)], [LayerSlice(4, 3, 5)]]


@pytest.mark.parametrize("side", ["smallest", "gate+_in+", "gate-_in+"])
def test_other_sides_and_padded_rows(fixtures, tmp_path, side):
    path = collected(
        tmp_path, fixtures, layers=(2,), neurons=(3, 4), sign_cases=True, packing="document", row_length=512
    )
    done = export(path, tmp_path / "site", side=side)
    assert done.pages == 2
    with Store(path) as store:
        for neuron in (3, 4):
            page = (tmp_path / "site" / "stories260k" / "2" / f"{neuron}.html").read_text("utf-8")
            examples = store.examples(2, neuron, side)
            found = [f for _, f in by_sections(page, layer=2, neuron=neuron)]
            assert [(f.row, f.position) for f in found] == [(e.row, e.position) for e in examples]
            for one, example in zip(found, examples, strict=True):
                assert len(one.tokens) == len(store.row(example.row)) < 512
                assert one.values[one.position] == float(f"{example.activation:.6f}")
            accepted(page, [PageText(f.row, f.position, f.tokens, np.float64(f.values)) for f in found],
                     layer=2, neuron=neuron)  # fmt: skip


def test_a_store_in_bfloat16(fixtures, tmp_path):
    path = collected(tmp_path, fixtures, layers=(1, 4), dtype="bfloat16")
    assert export(path, tmp_path / "site", layers=[4]).pages == 172
    with Store(path) as store:
        for neuron in (0, 171):
            page = (tmp_path / "site" / "stories260k" / "4" / f"{neuron}.html").read_text("utf-8")
            found = [f for _, f in by_sections(page, layer=4, neuron=neuron)]
            examples = store.examples(4, neuron)
            for one, example in zip(found, examples, strict=True):
                window = one.values[example.start : example.start + len(example.tokens)]
                assert window == [float(f"{v:.6f}") for v in example.activations.tolist()]
                assert max(one.values[1:]) == one.values[one.position]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(HOSTILE), st.text(max_size=6)), min_size=1, max_size=70), st.data())
def test_no_token_breaks_a_page_or_a_reader(tokens, data):
    rng = np.random.default_rng(data.draw(st.integers(0, 1 << 32)))
    names = {name: data.draw(st.one_of(st.sampled_from(HOSTILE), st.text(max_size=9))) for name in ("model", "dataset")}
    texts = texts_of(rng, 20, tokens=tokens)
    page = page_of(texts, **names, facts={"site": "post", "other": "".join(tokens)})
    accepted(page, texts)
    page.encode()
    facts = re.findall(r"^<!-- neurolocal (\{.*\}) -->$", page.split("<hr>")[0], re.MULTILINE)
    assert [json.loads(x)["other"] for x in facts] == ["".join(tokens)]
    assert page.count("<script") == page.count("</script>") == 41
    assert len(re.findall("^<hr>$", page, re.MULTILINE)) == page.count("<hr>") == 21
    assert not re.search("[\0\u2028\u202e]", page)
    assert not any(re.search("[<>&]", line.partition(" )")[0]) for line in page.split("\n") if line[:7] == "render(")


@pytest.mark.parametrize(
    ("value", "said"),
    [(1e-7, "0.000000"), (-1e-7, "0.000000"), (-0.0, "0.000000"), (1e6, "1000000.000000"), (-1.5, "-1.500000"),
     (-10.0, "-10.000000"), (2.0**100, "1267650600228229401496703205376.000000")],
)  # fmt: skip
def test_numbers_have_six_decimals_and_no_exponent(value, said):
    assert numbers(np.array([value, 1.0], np.float32)) == f"{said}, 1.000000"


def test_numbers_agree_with_python(rng):
    values = (rng.normal(size=5000) * 10.0 ** rng.integers(-8, 8, 5000)).astype(np.float32)
    assert numbers(values).split(", ") == [f"{v:.6f}".replace("-0.000000", "0.000000") for v in values.tolist()]


def test_a_neuron_that_is_never_active_has_no_negative_zero(rng):
    texts = [PageText(1, 0, ["a", "b"], np.array([0.0, -0.0], np.float32))] * 20
    page = page_of(texts)
    accepted(page, texts)
    assert "Max Range: <b>0.0000</b>. Min Range: <b>0.0000</b>" in page
    assert "-0.0" not in page.partition("<hr>")[2]


def test_checksums_fit_and_find_any_change(rng):
    page = page_of(texts_of(rng, 3))
    comment = re.compile(r"<!-- neurolocal sha256 ([0-9a-f]{64}) -->")

    def fitting(page: str) -> list[bool]:
        header, _, *sections = page.split("\n<hr>\n")
        return [section_checksum(header, comment.split(s)[0]) == comment.findall(s)[0] for s in sections]

    assert fitting(page) == [True] * 3
    bounds = [m.start() for m in re.finditer("<h2>Text #", page)]
    at = int(rng.integers(bounds[1], bounds[1] + 400))
    changed = page[:at] + ("x" if page[at] != "x" else "y") + page[at + 1 :]
    assert fitting(changed) == [True, False, True]
    assert fitting(page.replace("in Layer 2 ", "in Layer 3 ")) == [False] * 3


def test_every_address_is_there_and_every_link_leads_to_a_file(made):
    _, site = made
    files = {str(p.relative_to(site)) for p in site.rglob("*.html")}
    around = {"index.html", "random.html", "stories/index.html", "stories/model.html", "stories/random.html"}
    around |= {f"stories/{layer}/{name}.html" for layer in (0, 3) for name in ("index", "random")}
    assert files == around | {f"stories/{layer}/{n}.html" for layer in (0, 3) for n in (0, 1, 5, 90, 171)}
    for file in files:
        page = (site / file).read_text("utf-8")
        links = re.findall(r'href="([^"]*)"', page) + re.findall(r"url=([^\"]*)\"", page)
        assert links
        for link in links:
            assert urljoin(f"x:///{file}", link).removeprefix("x:///") in files or (
                os.path.normpath(Path(file).parent / link) in files
            ), (file, link)
    assert "small &lt;b&gt;" in (site / "index.html").read_text()
    jumps = json.loads(html.unescape(re.findall('data-pages="(.*?)"', (site / "random.html").read_text())[0]))
    ranges = [[0, 1], [5, 5], [90, 90], [171, 171]]
    assert jumps == [["stories/0/", ranges], ["stories/3/", ranges]]
    page = (site / "stories/0/5.html").read_text("utf-8")
    assert re.findall('rel="(?:prev|next)" href="(.*?)"', page) == ["1.html", "90.html"]
    assert 'rel="prev"' not in (site / "stories/0/0.html").read_text("utf-8")


def test_nothing_on_a_page_refers_to_a_network(made):
    _, site = made
    for file in site.rglob("*.html"):
        page = file.read_text("utf-8")
        assert "default-src 'none'" in html.unescape(page)
        assert not re.search(r"""(?:href|src|url|action)\s*[=(]\s*["']?(?:\w+:|//)|https?:|//[a-z]+\.""", page), file
        for inline in re.findall(r'from "([^"]*)"', page):
            assert inline == "circuits"
        for target in re.findall(r'<script type="importmap".*?>(.*?)</script>', page):
            assert all(url.startswith("data:") for url in json.loads(target)["imports"].values())


def test_values_that_are_not_finite_are_left_out_and_named(made, tmp_path):
    path, _ = made
    other = tmp_path / "s.h5"
    shutil.copy(path, other)
    with h5py.File(other, "r+") as file:
        for name in ("activation", "row", "position", "window"):  # a neuron without examples
            data = file[f"collect/post/0/largest/{name}"]
            data[3] = -1 if name in ("row", "position") else np.nan
    kept = whole_rows._computed

    def with_nan(store, subject, parts, at, *, said):
        values = kept(store, subject, parts, at, said=said)
        values[0][1, 4, -1] = np.nan
        values[0][2, :, -1] = np.inf
        return values

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(whole_rows, "_computed", with_nan)
        patch.setattr(whole_rows, "_put_windows", lambda *args: None)
        done = export(other, tmp_path / "site", model="m", layers=[0])
    assert (done.pages, done.short) == (3, 1)
    named = [line.split(":")[0] for line in done.left_out]
    assert named[0].startswith("layer 0 neuron 1 rank 4 (row ")
    assert [line.split(" rank")[0] for line in named[1:]] == ["layer 0 neuron 5"] * 21 + ["layer 0 neuron 90"]
    assert "no example" in done.left_out[-1]
    folder = tmp_path / "site" / "m" / "0"
    assert sorted(p.stem for p in folder.glob("[0-9]*.html")) == ["0", "1", "171"]
    page = (folder / "1.html").read_text("utf-8")
    assert len(by_sections(page, layer=0, neuron=1)) == 19
    assert 'rel="next" href="171.html"' in page


def test_a_store_that_the_subject_contradicts_is_refused(made, tmp_path):
    path, _ = made
    other = tmp_path / "s.h5"
    shutil.copy(path, other)
    with h5py.File(other, "r+") as file:
        data: Any = file["collect/post/3/largest/window"]
        data[2, 7, 9] += np.float32(0.1)
    with pytest.raises(StoreError, match=r"layer 3 neuron 5, row \d+, position \d+ .* Run `neurolocal check"):
        export(other, tmp_path / "site")


def test_a_stronger_position_than_the_example_is_refused(made, tmp_path, monkeypatch):
    path, _ = made
    kept = whole_rows._computed

    def stronger(*args, **more):
        values = kept(*args, **more)
        values[3][1, 0, np.argmax(values[3][1, 0, 1:]) + 1 - 20] += 99
        return values

    monkeypatch.setattr(whole_rows, "_computed", stronger)
    with pytest.raises(
        StoreError, match=r"layer 3 neuron 1, row \d+, position \d+ is at most .* Run `neurolocal check"
    ):
        export(path, tmp_path / "site")


def test_rounding_above_the_peak_is_clipped_and_bos_is_left(made, tmp_path):
    path, _ = made
    kept = whole_rows._computed
    with Store(path) as store:
        top, length = store.top(3, "largest"), store.rows_stored[1]
        assert (length == ROW).all()
    place = np.where(top.position[0] > 30, 3, ROW - 1)

    def above(store, subject, parts, at, *, said):
        values = kept(store, subject, parts, at, said=said)
        values[3] -= np.float32(1e-5)
        peak = np.take_along_axis(values[3][0], top.position[0][:, None], 1)
        np.put_along_axis(values[3][0], place[:, None], peak + np.float32(1e-4), 1)
        values[3][0, top.position[0] > 9, 0] = 50
        return values

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(whole_rows, "_computed", above)
        export(path, tmp_path, layers=[3], model="m")
    page = (tmp_path / "m" / "3" / "0.html").read_text("utf-8")
    for (figures, one), at, activation in zip(
        by_sections(page, layer=3, neuron=0), place, top.activation[0], strict=True
    ):
        assert one.values[at] == one.values[one.position] == float(f"{activation:.6f}")
        assert (one.values[0] == 50) == (one.position > 9)
        assert float(figures["range"][0]) == float(f"{top.activation[0, 0]:.4f}")
    with Store(path) as store:
        for (_, one), example in zip(by_sections(page, layer=3, neuron=0), store.examples(3, 0), strict=True):
            window = one.values[example.start : example.start + len(example.tokens)]
            assert window == [float(f"{v:.6f}") for v in example.activations.tolist()]


@pytest.mark.parametrize(
    ("name", "folder"),
    [("EleutherAI/pythia-70m", "pythia-70m"), ("../../etc/passwd", "passwd"), ("..", "model"), (".", "model"),
     ("", "model"), ("a/", "a"), ("C:\\x\\y", "C--x-y"), ("\0<b>é", "--b--"), (".git", "git"), ("///", "model"),
     ("index.html", "index.html-"), ("x" * 999, "x" * 100), ("a\n/b c", "b-c")],
)  # fmt: skip
def test_names_of_models_stay_in_the_folder(name, folder):
    assert folder_name(name) == folder


@given(st.text())
def test_any_name_is_one_safe_component(name):
    assert re.fullmatch("[A-Za-z0-9_-][A-Za-z0-9._-]*", folder_name(name))
    assert len(folder_name(name)) <= 101


def test_a_hostile_name_is_exported_inside(made, tmp_path):
    path, _ = made
    export(path, tmp_path / "site", model="../..", layers=[0], texts=2)
    export(path, tmp_path / "site", model="</title><script>", layers=[0], texts=2)
    assert {p.name for p in tmp_path.iterdir()} == {"site"}
    assert {p.name for p in (tmp_path / "site").iterdir()} == {"model", "title--script-", "index.html", "random.html"}
    index = (tmp_path / "site" / "index.html").read_text()
    assert index.count("<script") == 0
    assert "&lt;/title&gt;&lt;script&gt;" in index


def test_an_export_is_added_to_and_mixes_with_nothing_else(made, tmp_path):
    path, _ = made
    first = export(path, tmp_path, model="m", layers=[3], texts=3)
    assert (first.pages, first.short) == (5, 5)
    export(path, tmp_path, model="m", layers=[0])
    export(path, tmp_path, model="n", layers=[0], texts=1)
    index = (tmp_path / "index.html").read_text()
    assert re.findall('href="([mn])/index.html"', index) == ["m", "n"]
    assert len(re.findall(r'href="[03]/\d+\.html"', (tmp_path / "m" / "index.html").read_text())) == 10
    (tmp_path / "m" / "0" / "77.html").write_text("a page of an older export")
    export(path, tmp_path, model="m", layers=[0])
    assert not (tmp_path / "m" / "0" / "77.html").exists()
    with pytest.raises(StoreError, match="side 'largest', not smallest"):
        export(path, tmp_path, model="m", layers=[0], side="smallest")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.txt").write_text("mine")
    with pytest.raises(StoreError, match="from no export"):
        export(path, tmp_path, model="foreign")
    (tmp_path / "index.html").write_text("my own home")
    with pytest.raises(StoreError, match=r"index\.html there is not from an export"):
        export(path, tmp_path, model="p")
    assert (tmp_path / "index.html").read_text() == "my own home"


def test_a_damaged_list_of_pages_is_no_list(tmp_path):
    for text in ("", "[]", "{}", '{"model": 1}', '{"model": "m", "dataset": "d", "of": {}, "layers": {"0": [[3, 1]]}}',
                 '{"model": "m", "dataset": "d", "of": {}, "layers": {"x": []}}', "[" * 10**5):  # fmt: skip
        (tmp_path / model_folder.MARKER).write_text(text)
        assert model_folder.read_model(tmp_path) is None
    (tmp_path / model_folder.MARKER).write_text('{"model": "m", "dataset": "d", "of": {}, "layers": {"0": [[1, 3]]}}')
    found = model_folder.read_model(tmp_path)
    assert found is not None
    assert found.pages == 3


def test_what_cannot_be_is_said(made, tmp_path, monkeypatch):
    path, _ = made
    with pytest.raises(ConfigError, match="texts is 0"):
        export(path, tmp_path / "a", texts=0)
    with pytest.raises(StoreError, match="looking for layer 1 "):
        export(path, tmp_path / "a", layers=[1])
    with pytest.raises(StoreError, match="sign-cases"):
        export(path, tmp_path / "a", side="gate+_in+")
    with pytest.raises(StoreError, match="site pre "):
        export(path, tmp_path / "a", site="pre")
    assert not (tmp_path / "a").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"exporting to .*/file.*: .*choose a folder"):
        export(path, tmp_path / "file")


def test_a_full_disk_is_said_and_leaves_no_rest(made, tmp_path, monkeypatch):
    path, _ = made
    real, seen = Path.write_bytes, []

    def full(self, data):
        if "90.html" in self.name:
            seen.append(self)
            real(self, data[:100])
            raise OSError(28, "No space left on device", str(self))
        return real(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StoreError, match=r"No space left on device\. Free space"):
        export(path, tmp_path, model="m")
    assert seen
    assert not list(tmp_path.rglob("*.partial"))
    assert not (tmp_path / "index.html").exists()
    monkeypatch.undo()
    assert export(path, tmp_path, model="m").pages == 10


def test_the_text_is_that_of_the_corpus(made):
    _, site = made
    page = (site / "stories" / "0" / "5.html").read_text("utf-8")
    _, one = by_sections(page, layer=0, neuron=5)[0]
    assert one.tokens[0] == "<s>"
    body = "".join(one.tokens[2:-1]).strip()
    assert body[:20] in TEXT.replace("\n", "\n") or body[-20:] in TEXT
