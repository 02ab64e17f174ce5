"""The text box in a real browser: a question, values, a word replaced, the keyboard, errors as text, nothing run."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serve_twins import running

from neurolocal.site.ask import Question, QuestionError
from neurolocal.words import WORD

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = "</script><img src=x onerror=window.ran=1>"


def answered(question: Question) -> dict[str, Any]:
    """What a subject of one token a word might answer: activation = length of the word."""
    if "fail" in question.text:
        raise QuestionError(400, f"the model cannot read {HOSTILE}")
    spans = [list(match.span()) for match in WORD.finditer(question.text)]
    texts = ["<s>", *(question.text[first:stop] for first, stop in spans)]
    values = [float(len(text)) for text in texts]
    places = question.neurons or tuple((2, n) for n in range(question.strongest))
    peak = max(range(1, len(values)), key=values.__getitem__)
    neuron = {
        "verdict": "concept", "description": HOSTILE, "shown": HOSTILE, "activations": values, "peak": peak,
        "shares": [value / 10 for value in values], "quantiles": [0.5 for _ in values],
        "peak_activation": values[peak], "peak_share": values[peak] / 10,
    }  # fmt: skip
    return {
        "text": question.text,
        "tokens": [{"id": i, "text": t, "shown": t, "special": not i, "counted": bool(i)} for i, t in enumerate(texts)],
        "neurons": [{"layer": layer, "neuron": n} | neuron for layer, n in places],
        "starts": [None, *(first for first, _ in spans)],
        "words": spans,
    }


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    with sync.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any, small: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A neuron's page on a phone, with the text box; its console and its requests are checked in the end."""
    from neurolocal.site import serve
    from neurolocal.site.ask import Asker

    monkeypatch.setattr(serve, "_asker", lambda *_: Asker(answered))
    with running(small, subject=lambda: None) as port:
        opened = browser.new_page(viewport={"width": 360, "height": 800})
        said: list[str] = []
        asked: list[str] = []
        opened.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
        opened.on("pageerror", lambda error: said.append(str(error)))
        opened.on("request", lambda request: asked.append(request.url))
        opened.set_default_timeout(300_000)
        opened.goto(f"http://127.0.0.1:{port}/neuron/2/5.html")
        yield opened
        assert opened.evaluate("window.ran") is None
        assert all(url.startswith(f"http://127.0.0.1:{port}/") for url in asked)
        assert [line for line in said if "400 (Bad Request)" not in line] == []
        opened.close()


def ask(page: Any, text: str) -> None:
    page.get_by_label("Text of your own").fill(text)
    page.get_by_role("button", name="Show activations").click()


def tokens(page: Any, row: int = 0) -> Any:
    return page.locator("#ask").get_by_role("toolbar").nth(row).get_by_role("button")


def test_a_text_is_shown_token_by_token(page: Any) -> None:
    ask(page, "a cat sleeps")
    tokens(page).nth(3).wait_for()
    assert tokens(page).all_inner_texts() == ["<s>", "a", "cat", "sleeps"]
    assert page.locator("#ask").get_by_role("toolbar").count() == 1
    last = tokens(page).nth(3)
    assert last.get_attribute("title") == "sleeps (id 3): 6.00, 60 % of its largest, above 50.00 % of the corpus"
    assert last.get_attribute("aria-label") == last.get_attribute("title")
    assert "s6" in (last.get_attribute("class") or "")
    assert "ask-peak" in (last.get_attribute("class") or "")
    assert page.locator(".ask-neuron bdi").first.inner_text() == HOSTILE
    assert page.locator(".ask-neuron h3 a").get_attribute("href").endswith("/neuron/2/5.html")


def test_a_click_replaces_a_word_and_shows_the_change(page: Any) -> None:
    ask(page, "👋 a cat sleeps, and dreams")
    tokens(page).nth(2).click()
    word = page.get_by_role("textbox", name=re.compile("Replace .?cat.? by"))
    assert word.input_value() == "cat"
    word.fill("hippopotamus")
    page.get_by_role("button", name="Replace", exact=True).click()
    page.get_by_text("Peak 6.00 (60 % of its largest) → 12.00 (120 % of its largest)").wait_for()
    assert page.get_by_label("Text of your own").input_value() == "👋 a hippopotamus sleeps, and dreams"
    assert tokens(page, 0).nth(2).inner_text() == "cat"  # before
    assert tokens(page, 1).nth(2).inner_text() == "hippopotamus"


def test_by_keyboard_alone(page: Any) -> None:
    page.get_by_label("Text of your own").focus()
    page.keyboard.type("one three two")
    page.keyboard.press("Control+Enter")
    tokens(page).nth(3).wait_for()
    tokens(page).nth(2).focus()  # the peak is the row's place in the tab order
    assert tokens(page).nth(2).get_attribute("tabindex") == "0"
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.textContent") == "two"
    page.keyboard.press("Home")
    assert page.evaluate("document.activeElement.textContent") == "<s>"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "ask-word"
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.textContent") == "one"
    page.keyboard.press("Enter")
    page.keyboard.type("fifteen")
    page.keyboard.press("Enter")
    page.get_by_text("→ 7.00").wait_for()
    assert page.evaluate("document.activeElement.textContent") == "fifteen"  # the peak now
    assert page.get_by_label("Text of your own").input_value() == "fifteen three two"


def test_the_strongest_neurons_and_named_ones(page: Any) -> None:
    page.get_by_label("the neurons that it excites most").check()
    ask(page, "a cat")
    page.locator("#ask").get_by_role("toolbar").nth(9).wait_for()
    page.get_by_label("Neurons as layer:neuron").fill("2:3, 5:7")
    ask(page, "a cat")
    page.get_by_text("2 tokens").or_(page.get_by_text("3 tokens, 2 neurons")).wait_for()
    assert page.locator("#ask").get_by_role("toolbar").count() == 2
    page.get_by_label("Neurons as layer:neuron").fill("2-3")
    ask(page, "a cat")
    assert page.get_by_role("alert").inner_text() == "Give neurons as layer:neuron, for example 14:159, 3:7."


def test_a_control_token_cannot_be_replaced(page: Any) -> None:
    ask(page, "a cat")
    tokens(page).nth(0).click()
    page.get_by_text("This token cannot be replaced").wait_for()


def test_an_error_is_text(page: Any) -> None:
    ask(page, "fail")
    page.get_by_role("alert").get_by_text("the model cannot read").wait_for()
    assert page.get_by_role("alert").inner_text() == f"the model cannot read {HOSTILE}"
    ask(page, "a cat")
    tokens(page).nth(2).wait_for()
    assert not page.get_by_role("alert").is_visible()


def test_no_serious_fault_of_accessibility(page: Any) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    ask(page, "a cat sleeps")
    tokens(page).nth(3).click()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        found = axe.Axe().run(page).response["violations"]
        serious = [one["id"] for one in found if one["impact"] in ("serious", "critical")]
        assert serious == [], found
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
