"""The application: pages by name, JSON as the report's, questions with their refusals, and hostile requests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serve_twins import client

from neurolocal import report
from neurolocal.errors import StoreError
from neurolocal.render.figures import strict
from neurolocal.site import server
from neurolocal.site.ask import LONGEST_TEXT, WAITING, Question
from neurolocal.site.pages import Pages
from neurolocal.store import Store, find


def echo(question: Question) -> dict[str, Any]:
    return question._asdict()


def test_a_page_is_what_pages_makes(small: Path) -> None:
    with client(small) as c, Store(small) as store:
        made = Pages(store).read("index.html")
        for path in ("/", "/index.html"):
            answer = c.get(path)
            assert (answer.status_code, answer.content) == (200, made)
            assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert c.head("/").headers["content-length"] == str(len(made or b""))


def test_a_subject_makes_the_pages_live(small: Path) -> None:
    for answer in (None, echo):
        with client(small, answer=answer) as c:
            page = c.get("/neuron/2/5.html").text
        assert ("assets/ask.js" in page) == ('id="ask"' in page) == (answer is not None)


def test_a_page_that_the_client_has_is_not_made_again(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with client(small) as c:
        first = c.get("/")
        made: list[str] = []
        monkeypatch.setattr(Pages, "read", lambda self, name: made.append(name))
        again = c.get("/", headers={"if-none-match": f'W/"other", {first.headers["etag"]}'})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
        assert c.get("/", headers={"if-none-match": '"other"'}).status_code == 200  # kept by the server
        assert made == []


def test_the_servers_own_files(small: Path) -> None:
    with client(small) as c:
        for name, kind in (("ask.js", "text/javascript"), ("ask.css", "text/css")):
            answer = c.get(f"/assets/{name}")
            assert answer.content == (Path(server.__file__).parent / "assets" / name).read_bytes()
            assert answer.headers["content-type"] == f"{kind}; charset=utf-8"
            assert c.get(f"/assets/{name}", headers={"if-none-match": answer.headers["etag"]}).status_code == 304


@pytest.mark.parametrize(
    "path",
    ["/nothing", "/layer", "/api", "/api/", "/assets/", "/assets/server.py", "/assets/../server.py", "/../small.h5",
     "/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2fetc%2fpasswd", "/etc/passwd", "//etc/passwd", "/%00", "/%ff%fe",
     "/api/layers/9", "/api/layers/-1", "/api/layers/x", f"/api/layers/{'9' * 1500}", "/api/neurons/2/99",
     "/api/neurons/99/1", "/api/neurons/2/1/", "/api/find?text=no-such-token", "/api/neurons/2/1?side=gate%2B_in%2B"],
)  # fmt: skip
def test_what_is_not_there_is_not_found(small: Path, path: str) -> None:
    with client(small) as c:
        answer = c.get(path)
        assert answer.status_code == 404
        assert "Traceback" not in answer.text
        assert str(small) not in answer.text


def test_the_facts_of_the_store(small: Path) -> None:
    with client(small) as c:
        facts = c.get("/api/store").json()
        assert facts["subject"]["name"] == "small-1m"
        assert facts["ask"] is None
        assert [layer["layer"] for layer in facts["layers"]] == [2, 5]
        assert facts["layers"][0]["neurons"] == 12
        assert set(facts["layers"][0]["stages"]) == {"similarity", "perturbation", "summary", "verdict"}
        assert "/models/" not in json.dumps(facts)
    with client(small, answer=echo) as c:
        assert c.get("/api/store").json()["ask"]["characters"] == LONGEST_TEXT


def test_a_layer_and_a_neuron_as_the_report_gives_them(small: Path) -> None:
    with client(small) as c, Store(small) as store:
        rows = report.report_rows(store, [5])
        listed = c.get("/api/layers/5").json()["neurons"]
        assert [one["neuron"] for one in listed] == [row.neuron for row in rows]
        for one, row in zip(listed, rows, strict=True):
            for name, value in one.items():
                assert value == strict(getattr(row, name)), name
        (wanted,) = (one for one in report.report_object(store, rows)["neurons"] if one["neuron"] == 4)
        got = c.get("/api/neurons/5/4").json()
        assert {name: got[name] for name in wanted} == wanted
        for one, example in zip(got["examples"], store.examples(5, 4), strict=True):
            assert one["activation"] == example.activation
            assert one["ids"] == example.tokens.tolist()
            assert one["activations"] == pytest.approx(example.activations)
        assert c.get("/api/neurons/5/4?side=smallest").json()["examples"] != got["examples"]


def test_the_neurons_of_a_token_as_find_gives_them(small: Path) -> None:
    with client(small) as c, Store(small) as store:
        token = store.vocabulary.str_tokens([store.examples(2, 0)[0].tokens[store.examples(2, 0)[0].peak]])[0]
        got = c.get("/api/find", params={"text": token, "limit": 3}).json()["neurons"]
        assert got == [vars(one) for one in find(store, token, limit=3)]
        for query in (
            "",
            "text=",
            *(f"text=a&limit={n}" for n in ("0", "x", "1001", "9999999", "²", "000001" + "0" * 40)),
        ):
            assert c.get(f"/api/find?{query}").status_code == 400


def test_hostile_text_is_json_and_nothing_else(tmp_path: Path) -> None:
    from serve_twins import write_small

    with client(write_small(tmp_path / "h.h5", hostile=True)) as c:
        for path in ("/api/store", "/api/layers/2", *(f"/api/neurons/2/{n}" for n in range(12))):
            answer = c.get(path)
            assert answer.status_code == 200
            assert answer.headers["content-type"] == "application/json"
            json.loads(answer.content, parse_constant=lambda name: pytest.fail(name))


def test_a_question_is_answered(small: Path) -> None:
    with client(small, answer=echo) as c:
        answer = c.post("/api/activations", json={"text": "Hi 👋", "neurons": [[2, 3], [5, 1]]})
        assert answer.json() == {"text": "Hi 👋", "neurons": [[2, 3], [5, 1]], "strongest": 10}
        assert answer.headers["cache-control"] == "no-store"
        assert c.post("/api/activations", json={"text": "Hi", "strongest": 3}).json()["strongest"] == 3


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400), (b"{", 400), (b"[]", 400), (b'"text"', 400), (b"\xff\xfe", 400), (b"[" * 60_000, 400),
        (b'{"text": ""}', 400), (b'{"text": 3}', 400), (b'{"text": "a", "more": 1}', 400),
        (b'{"text": "\\ud800"}', 400), (b'{"text": "a", "strongest": 0}', 400),
        (b'{"text": "a", "strongest": 51}', 400),
        (b'{"text": "a", "strongest": true}', 400), (b'{"text": "a", "strongest": 1e400}', 400),
        (b'{"text": "a", "neurons": []}', 400), (b'{"text": "a", "neurons": [[1]]}', 400),
        (b'{"text": "a", "neurons": [[1, -1]]}', 400), (b'{"text": "a", "neurons": [[1, true]]}', 400),
        (b'{"text": "a", "neurons": [[1, 2]], "strongest": 2}', 400),
        (b'{"text": "a", "neurons": [[1, 99999999999]]}', 400),
        (json.dumps({"text": "a", "neurons": [[1, 2]] * 51}).encode(), 400),
        (json.dumps({"text": "a" * (LONGEST_TEXT + 1)}).encode(), 413),
        (b'{"text": "' + b"a" * 70_000 + b'"}', 413),
    ],
)  # fmt: skip
def test_a_question_that_is_none_is_refused(small: Path, body: bytes, status: int) -> None:
    with client(small, answer=echo) as c:
        answer = c.post("/api/activations", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == status
        assert answer.text.count("\n") == 1


def test_the_longest_text_fits_however_it_is_escaped(small: Path) -> None:
    with client(small, answer=echo) as c:
        body = json.dumps({"text": "😀" * LONGEST_TEXT}).encode()
        assert c.post("/api/activations", content=body, headers={"content-type": "application/json"}).status_code == 200


def test_only_json_may_ask(small: Path) -> None:
    """A form of another site can send a body, but not of this type."""
    with client(small, answer=echo) as c:
        for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
            assert (
                c.post("/api/activations", content=b'{"text": "a"}', headers={"content-type": kind}).status_code == 415
            )
        assert c.get("/api/activations").status_code == 404
    with client(small) as c:
        assert c.post("/api/activations", json={"text": "a"}).status_code == 404


def test_a_mistake_of_ours_is_kept_and_not_sent(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    errors: list[Exception] = []

    def broken(self: Pages, name: str) -> bytes:
        raise RuntimeError("a secret")

    monkeypatch.setattr(Pages, "read", broken)
    with client(small, errors=errors) as c:
        answer = c.get("/")
        assert answer.status_code == 500
        assert "secret" not in answer.text
        assert [str(error) for error in errors] == ["a secret"]
        assert c.get("/api/store").status_code == 200


def test_a_damaged_store_is_said(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(self: Pages, name: str) -> bytes:
        raise StoreError("reading the store: rows/tokens\u202e is missing.\nCopy it again.")

    monkeypatch.setattr(Pages, "read", damaged)
    with client(small) as c:
        answer = c.get("/")
        assert (answer.status_code, answer.text) == (
            500,
            "reading the store: rows/tokens⟨U+202E⟩ is missing. Copy it again.\n",
        )


def test_questions_wait_in_turn_and_not_without_end(small: Path) -> None:
    import threading
    from concurrent.futures import ThreadPoolExecutor

    let_go, begun = threading.Event(), threading.Event()

    def slow(question: Question) -> dict[str, Any]:
        begun.set()
        let_go.wait(300)
        return {"text": question.text}

    with client(small, answer=slow, seconds=300.0) as c, ThreadPoolExecutor(WAITING + 1) as pool:
        ask = lambda i: c.post("/api/activations", json={"text": f"t{i}"})  # noqa: E731
        waiting = [pool.submit(ask, i) for i in range(WAITING + 1)]
        assert begun.wait(300)
        refused = next(one for one in iter(lambda: next((f for f in waiting if f.done()), None), 0) if one)
        assert refused.result().status_code == 503
        assert c.get("/").status_code == 200  # pages do not wait for the subject
        let_go.set()
        assert sorted(one.result().status_code for one in waiting) == [200] * WAITING + [503]
        assert ask(99).json() == {"text": "t99"}


def test_a_question_that_takes_too_long_is_given_up(small: Path) -> None:
    import threading

    let_go = threading.Event()

    def slow(question: Question) -> dict[str, Any]:
        let_go.wait(300)
        return {}

    with client(small, answer=slow, seconds=0.2) as c:
        try:
            answer = c.post("/api/activations", json={"text": "a"})
            assert answer.status_code == 503
            assert "no answer within 0.2 s" in answer.text
        finally:
            let_go.set()


PARTS = ["..", ".", "", "etc", "passwd", "%2e%2e", "%00", "api", "neurons", "2", "assets", "\\", "~", "C:"]
HOSTILE = st.one_of(st.text(max_size=80), st.lists(st.sampled_from(PARTS), max_size=8).map("/".join))


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(
    path=HOSTILE,
    query=st.text(max_size=40),
    header=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60),
    body=st.binary(max_size=60),
)
def test_hostile_requests(path: str, query: str, header: str, body: bytes, served: Any) -> None:
    from urllib.parse import quote

    url = f"http://127.0.0.1:8000/{quote(path, safe='/%')}?{quote(query)}"
    try:
        answers = [
            served.get(url, headers={"if-none-match": header, "cookie": header, "range": header, "accept": header}),
            served.post("/api/activations", content=body, headers={"content-type": "application/json"}),
            served.request("OPTIONS", url),
        ]
    except Exception as error:  # the client itself refuses some
        assert type(error).__module__.startswith(("httpx", "httpcore", "h11", "idna", "urllib")), error  # noqa: PT017
        return
    for answer in answers:
        assert answer.status_code in (200, 304, 400, 404, 405, 414)
        assert "Traceback" not in answer.text
        assert "root:" not in answer.text


@pytest.fixture(scope="module")
def served(small: Path) -> Any:
    with client(small, answer=echo) as c:
        yield c
