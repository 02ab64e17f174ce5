"""The guard: which hosts, tokens and sites are answered; what every answer forbids."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from serve_twins import TOKEN, client

from neurolocal.site.security import HEADERS, HOST, Hosts, is_loopback
from neurolocal.site.serve import Address

LOOPBACK = [
    "127.0.0.1",
    "127.0.0.1:8000",
    "127.1.2.3:1",
    "localhost",
    "localhost:9000",
    "LocalHost.:80",
    "[::1]",
    "[::1]:8000",
]
OTHERS = [
    "evil.example",
    "evil.example:8000",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "10.0.0.7",
    "[fe80::1]",
]
BROKEN = [
    "",
    " ",
    "a b",
    "localhost:",
    "localhost:port",
    "localhost:1:2",
    "[::1",
    "::1",
    "user@localhost",
    "localhost/",
    "lo\tcal",
]


@pytest.mark.parametrize("host", LOOPBACK)
def test_a_loopback_server_answers_to_loopback_names(host: str) -> None:
    assert Hosts("127.0.0.1").allow(host)


@pytest.mark.parametrize("host", OTHERS + BROKEN)
def test_and_to_no_other(host: str) -> None:
    assert not Hosts("127.0.0.1").allow(host)


def test_a_server_for_others_answers_to_addresses_its_own_name_and_those_allowed() -> None:
    hosts = Hosts("0.0.0.0", ("viewer.example",))
    for host in ("10.0.0.7:8000", "[fe80::1]:8000", socket.gethostname(), "Viewer.example:443", "localhost"):
        assert hosts.allow(host)
    for host in ("evil.example", "viewer.example.evil.example", "", "10.0.0.7.evil.example"):
        assert not hosts.allow(host)
    assert Hosts("box.lan").allow("box.lan:8000")


@given(st.text(max_size=60))
def test_a_name_that_an_attacker_chooses_is_never_loopback(text: str) -> None:
    if Hosts("127.0.0.1").allow(text):
        match = HOST.fullmatch(text)
        assert match is not None
        assert is_loopback(match["name"].strip("[]").rstrip(".").lower())


def test_loopback() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.255.0.1", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "", "10.0.0.1", "localhost.evil.example", "box")))


def test_another_host_gets_nothing(small: Path) -> None:
    with client(small) as c:
        for path in ("/", "/api/store", "/assets/ask.js"):
            answer = c.get(path, headers={"host": "evil.example"})
            assert answer.status_code == 421
            assert "layer" not in answer.text
            assert "evil" not in answer.text


def test_every_answer_has_the_headers(small: Path) -> None:
    with client(small, token=TOKEN) as c:
        refused = [
            c.get("/"),
            c.get("/", headers={"host": "evil.example"}),
            c.get("/" + "x" * 3000),
            c.get(f"/?token={TOKEN}"),
        ]
        c.headers["authorization"] = f"Bearer {TOKEN}"
        answered = [c.get("/"), c.get("/nothing"), c.post("/"), c.get("/api/layers/x"), c.get("/assets/ask.js")]
    assert [a.status_code for a in refused] == [401, 421, 414, 303]
    assert [a.status_code for a in answered] == [200, 404, 405, 404, 200]
    for answer in refused + answered:
        for name, value in HEADERS.items():
            assert answer.headers[name] == value


def test_the_policy_allows_no_inline_script_and_no_other_origin() -> None:
    policy = dict(part.split(" ", 1) for part in HEADERS["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"


def test_without_the_token_nothing_is_answered(small: Path) -> None:
    with client(small, token=TOKEN) as c:
        held = [{}, {"authorization": "Bearer wrong"}, {"authorization": TOKEN}, {"cookie": "neurolocal=wrong"}]
        held += [{"cookie": "neurolocal"}, {"cookie": ";=;;"}, {"authorization": "Bearer \xff".encode("latin-1")}]
        for headers in held:
            answer = c.get("/api/store", headers=headers)
            assert answer.status_code == 401
            assert TOKEN not in answer.text + str(answer.headers)
        for query in ("token=", "token=wrong", "token", f"Token={TOKEN}", f"token={TOKEN}&token=wrong"):
            assert c.get(f"/?{query}").status_code == 401


def test_the_token_opens_and_leaves_the_address(small: Path) -> None:
    with client(small, token=TOKEN, cookie="neurolocal_8000") as c:
        answer = c.get(f"/layer/2/?side=largest&token={TOKEN}")
        assert answer.status_code == 303
        assert answer.headers["location"] == "?side=largest"
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        assert c.cookies["neurolocal_8000"] == TOKEN
        assert c.get("/api/store").status_code == 200
        c.cookies.clear()
        assert c.get("/api/store").status_code == 401
        assert c.get("/api/store", headers={"authorization": f"bearer {TOKEN}"}).status_code == 200


@pytest.mark.parametrize("token", ["q+Zk/8w1x2y3z4==", "".join(map(chr, range(33, 127)))])
def test_a_token_of_any_characters_opens(small: Path, token: str) -> None:
    with client(small, token=token) as c:
        address = Address("127.0.0.1").url(8000, token)
        assert c.get(address).status_code == 303
        assert c.get("/api/store").status_code == 200
        c.cookies.clear()
        assert c.get("/api/store", headers={"authorization": f"Bearer {token}"}).status_code == 200


@pytest.mark.parametrize(
    "path", ["/", "//evil.example/", "//evil.example", "/a//evil.example", "/x:y", "/\\evil.example", "/%0d%0aa"]
)
def test_the_redirect_stays_on_this_server(small: Path, path: str) -> None:
    from urllib.parse import urljoin, urlsplit

    with client(small, token=TOKEN) as c:
        answer = c.get(f"http://127.0.0.1:8000{path}?token={TOKEN}")
    location = answer.headers["location"]
    assert urlsplit(urljoin("http://127.0.0.1:8000/folder/", location)).netloc == "127.0.0.1:8000"
    assert location.startswith("./")


def test_another_site_may_link_but_not_load(small: Path) -> None:
    with client(small) as c:
        cross = {"sec-fetch-site": "cross-site"}
        assert c.get("/", headers=cross | {"sec-fetch-mode": "no-cors"}).status_code == 403
        assert c.get("/api/store", headers=cross | {"sec-fetch-mode": "cors"}).status_code == 403
        assert c.get("/", headers=cross | {"sec-fetch-mode": "navigate"}).status_code == 200
        assert c.get("/", headers={"sec-fetch-site": "same-origin"}).status_code == 200
