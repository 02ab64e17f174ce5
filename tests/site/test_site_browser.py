"""The site in a real browser, from the disk: nothing fails or leaves the machine, and the keyboard is enough."""

from __future__ import annotations

import http.server
import shutil
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from site_twins import SmallStore, small
from small_run import neurolocal

from neurolocal.records import SummaryTable
from neurolocal.site.build import write_site
from neurolocal.store import Store, add_evidence

pytestmark = pytest.mark.slow

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

SAMPLE = Path(__file__).parents[2] / "data" / "sample.jsonl.zst"

AXE = {"preload": False, "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}
"""The rules of the accessibility checker; preloading would ask for the style by a request that files refuse."""

Open = Callable[..., Any]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A layer of 230 neurons."""
    folder = tmp_path_factory.mktemp("site")
    path = SmallStore(layers=(5,), neurons=230, k=3).write(folder / "s.h5")
    write_site(path, folder / "site", processes=1, bar=False)
    return folder / "site"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile") / "site"
    write_site(small(hostile=True, neurons=24, k=6), folder, processes=1, bar=False)
    return folder


@pytest.fixture
def visit(chromium: Any) -> Iterator[Open]:
    """Open a page of a site; at the end of the test nothing has failed, been run or left the machine."""
    said: list[str] = []
    contexts: list[Any] = []

    def visit(folder: Path, name: str, *, width: int = 1280, base: str | None = None, **how: Any) -> Any:
        context = chromium.new_context(viewport={"width": width, "height": 900}, **how)
        contexts.append(context)
        context.set_default_timeout(300_000)
        begins = base or folder.as_uri()
        context.on("request", lambda request: request.url.startswith(begins) or said.append(request.url))
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: (said.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.goto(f"{begins}/{name}")
        return page

    yield visit
    for context in contexts:
        context.close()
    assert said == []


def rows(page: Any) -> list[list[str]]:
    return page.eval_on_selector_all(
        ".ranking tbody tr", "rows => rows.map(row => Array.from(row.cells, cell => cell.textContent))"
    )


def table(visit: Open, site: Path) -> Any:
    page = visit(site, "layer/5/index.html")
    page.wait_for_selector(".filters:not([hidden])")
    return page


def status(page: Any) -> str:
    return page.text_content('.pager [role="status"]')


def test_the_table_has_all_neurons_page_by_page(visit: Open, site: Path) -> None:
    page = table(visit, site)
    assert status(page) == "1 to 100 of 230 neurons"
    seen = [row[1] for row in rows(page)]
    page.click("text=next page >> nth=0")
    seen += [row[1] for row in rows(page)]
    page.click("text=next page >> nth=1")
    seen += [row[1] for row in rows(page)]
    assert status(page) == "201 to 230 of 230 neurons"
    assert page.is_disabled("text=next page >> nth=0")
    assert sorted(map(int, seen)) == list(range(230))
    page.click(".ranking tbody tr:first-child a")
    page.wait_for_url(f"**/neuron/5/{seen[200]}.html")


def test_sorting_by_mouse_and_by_keyboard(visit: Open, site: Path) -> None:
    page = table(visit, site)
    assert [row[0] for row in rows(page)[:3]] == ["1", "2", "3"]
    page.click("th >> text=score")
    scores = [float(row[2]) for row in rows(page)]
    assert scores == sorted(scores, reverse=True)
    page.focus("th >> text=neuron")
    page.keyboard.press("Enter")
    assert [row[1] for row in rows(page)[:3]] == ["0", "1", "2"]
    assert page.get_attribute("th >> nth=1", "aria-sort") == "ascending"
    page.keyboard.press("Space")
    assert [row[1] for row in rows(page)[:2]] == ["229", "228"]


def test_filtering_by_text_and_by_verdict(visit: Open, site: Path) -> None:
    page = table(visit, site)
    page.fill("#filter", "royal titles")
    found = rows(page)
    assert found
    assert all(row[4] == "royal titles" for row in found)
    assert f"{len(found)} that match, of 230 neurons" in status(page)
    page.fill("#filter", "")
    chosen = rows(page)[0][3]
    page.uncheck(f'input[value="{chosen}"]')
    assert chosen not in {row[3] for row in rows(page)}
    page.fill("#filter", "no such thing")
    assert rows(page) == []


def test_values_of_tokens_by_mouse_and_by_keyboard(visit: Open, site: Path) -> None:
    page = visit(site, "neuron/5/7.html")
    page.hover(".w mark >> nth=0")
    assert "100 % of the peak · token " in page.text_content("#tip")
    page.focus(".w >> nth=0")
    peak = page.text_content("#tip")
    page.keyboard.press("ArrowLeft")
    before = page.text_content("#tip")
    assert before != peak
    assert "· token " in before
    page.keyboard.press("ArrowRight")
    assert page.text_content("#tip") == peak
    page.keyboard.press("Home")
    first = page.get_attribute(".w >> nth=0", "data-t").split()[0]
    assert page.text_content("#tip").endswith(f"token {first}")
    page.keyboard.press("Escape")
    assert page.is_hidden("#tip")


def test_the_whole_row_on_demand(visit: Open, site: Path) -> None:
    page = visit(site, "neuron/5/7.html")
    with Store(site.parent / "s.h5") as store:
        text = store.vocabulary.text(store.row(store.examples(5, 7)[0].row)).replace("\n", "⏎")
    page.click("text=whole row >> nth=0")
    page.wait_for_selector(".whole")
    assert page.text_content(".whole") == text
    assert page.text_content(".whole mark") == page.text_content(".w mark >> nth=0")
    page.click("text=whole row >> nth=0")
    assert page.is_hidden(".whole")


def test_search_by_word_token_and_description(visit: Open, site: Path) -> None:
    page = visit(site, "index.html")
    page.fill(".find input", "mond")
    page.keyboard.press("Enter")
    page.wait_for_selector("#results table")
    assert page.url.endswith("search.html#mond")
    assert page.text_content('.keys [aria-pressed="true"]').startswith("monday")
    page.wait_for_selector("#results .chip")
    page.fill("#query input", "royal titles")
    page.wait_for_selector("h2:has-text('Descriptions')")
    assert set(page.locator("section:has-text('Descriptions') td.wide").all_text_contents()) == {"royal titles"}
    page.fill("#query input", "poly")
    page.wait_for_selector("h2:has-text('Tokens')")
    assert page.locator("h2:has-text('Tokens') + .keys button").all_text_contents()[0].split()[0] in ("poly", "·poly")
    page.click("#results td a >> nth=0")
    page.wait_for_selector(".examples")
    page.goto(page.url.split("/neuron/")[0] + "/search.html#zzzz")
    page.wait_for_selector("text=Nothing: no peak word")


def test_the_search_folds_case_as_the_terms_are_folded(visit: Open, site: Path) -> None:
    page = visit(site, "search.html")
    letters = [chr(i) for i in (*range(0x20, 0x590), *range(0x1E00, 0x2000))]  # Latin, Greek, Cyrillic, Armenian
    texts = [*letters, "STRASSE Straße", "ΟΔΟΣ οδός"]
    assert page.evaluate("texts => texts.map(window.neurolocal.fold)", texts) == [text.casefold() for text in texts]


def test_a_word_far_back_in_a_description_finds_it(visit: Open, tmp_path: Path) -> None:
    path = Path(shutil.copy(small(), tmp_path / "s.h5"))
    with Store(path) as store:
        table = store.evidence("summary", 5)
    described = ["royal " * 50 + "Straßen", *table.description[1:]]
    add_evidence(
        path, [("summary", 5, "largest", SummaryTable(**vars(table) | {"description": described}), {})], site="post"
    )
    write_site(path, tmp_path / "site", processes=1, bar=False)
    page = visit(tmp_path / "site", "search.html")
    for text in ("straßen", "ROYAL strassen"):
        page.fill("#query input", "zzzz")
        page.wait_for_selector("text=Nothing: no peak word")
        page.fill("#query input", text)
        page.wait_for_selector("h2:has-text('Descriptions')")
        assert page.locator("section:has-text('Descriptions') td.wide").count() == 1


def test_a_random_neuron_and_the_next_one(visit: Open, site: Path) -> None:
    page = visit(site, "neuron/5/7.html")
    page.click("text=8 →")
    page.wait_for_url("**/neuron/5/8.html")
    page.click("#random")
    page.wait_for_url(lambda url: not url.endswith("neuron/5/8.html"))
    assert page.is_visible(".examples")


def test_the_site_from_a_web_server_under_a_folder(visit: Open, site: Path) -> None:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site.parent)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        page = visit(site, "layer/5/index.html", base=f"http://127.0.0.1:{server.server_port}/site")
        page.wait_for_selector(".filters:not([hidden])")
        assert len(rows(page)) == 100
        page.close()
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["index.html", "layer/5/index.html", "neuron/5/7.html", "search.html#monday"])
def test_the_accessibility_checker_finds_no_serious_fault(visit: Open, site: Path, name: str, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python").Axe()
    page = visit(site, name, color_scheme=scheme, bypass_csp=True)
    page.wait_for_timeout(400)
    faults = axe.run(page, options=AXE).response["violations"]
    bad = [
        (fault["id"], fault["impact"], [node["html"][:120] for node in fault["nodes"][:3]])
        for fault in faults
        if fault["impact"] in ("serious", "critical", "moderate")
    ]
    assert bad == []


@pytest.mark.parametrize("name", ["index.html", "layer/5/index.html", "neuron/5/7.html", "search.html#a"])
def test_nothing_is_wider_than_a_phone(visit: Open, site: Path, name: str) -> None:
    page = visit(site, name, width=360)
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_pages_are_read_without_script(visit: Open, site: Path) -> None:
    page = visit(site, "layer/5/index.html", java_script_enabled=False)
    assert len(page.query_selector_all(".ranking tbody tr")) == 50
    assert page.is_hidden(".filters")
    page.click(".ranking tbody a >> nth=0")
    assert page.is_visible(".examples mark >> nth=0")


def test_nothing_of_a_hostile_store_runs(visit: Open, hostile: Path) -> None:
    for name in ["index.html", "layer/5/index.html", *(f"neuron/5/{n}.html" for n in range(8)), "search.html#"]:
        page = visit(hostile, name)
        page.wait_for_timeout(150)
        assert page.query_selector("img") is None, name
        for button in page.query_selector_all("text=whole row")[:3]:
            button.click()
        page.close()
    page = visit(hostile, "search.html")
    for text in ("<", "</script>", "img", "x", "{{", "\u202e", "=cmd", "a\x00b", "%"):
        page.fill("#query input", text)
        page.keyboard.press("Enter")
        page.wait_for_timeout(150)
        assert page.query_selector("img") is None


@pytest.fixture(scope="module")
def smol_site(tmp_path_factory: pytest.TempPathFactory, smol_gguf: Path) -> Path:
    """A layer of SmolLM2, read on some rows of the sample corpus."""
    folder = tmp_path_factory.mktemp("smol")
    done = neurolocal(
        "collect", "--subject", smol_gguf, "--corpus", SAMPLE, "--store", "smol.h5", "--layers", "5",
        "--max-rows", "16", "--row-length", "128", "--k", "8", "--logits", "5", cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    write_site(folder / "smol.h5", folder / "site", top=120, processes=2, bar=False)
    return folder / "site"


def test_a_real_model(visit: Open, smol_site: Path) -> None:
    with Store(smol_site.parent / "smol.h5") as store:
        word = store.vocabulary.word_at(*((e := store.examples(5, 3)[0]).tokens, e.peak)).text
    page = visit(smol_site, "index.html")
    page.click("text=layer 5")
    page.wait_for_selector(".filters:not([hidden])")
    assert len(rows(page)) == 100
    page.goto(f"{smol_site.as_uri()}/neuron/5/3.html")
    assert page.text_content(".w mark >> nth=0").strip() in word
    page.focus(".w >> nth=0")
    assert "100 % of the peak" in page.text_content("#tip")
    page.click("text=whole row >> nth=0")
    page.wait_for_selector(".whole")
    assert len(page.query_selector_all(".whole > *")) > 100
    page.fill(".find input", word)
    page.keyboard.press("Enter")
    page.wait_for_selector("#results")
    page.wait_for_function("document.getElementById('found').textContent")
    assert "layer 5 · 3" in page.text_content("#results")
