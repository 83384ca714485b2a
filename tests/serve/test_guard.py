from __future__ import annotations

import asyncio
import json
import re
import time
from html.parser import HTMLParser
from urllib.parse import unquote

import pytest
from starlette.testclient import TestClient

from imgret.serve.app import create_app
from imgret.serve.guard import POLICY, host_name, is_loopback
from tests.serve.conftest import BASE

PAGE = {"Accept": "text/html,application/xhtml+xml"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
MULTIPART = {"Content-Type": "multipart/form-data; boundary=x"}
FILE = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'


def code(answer):
    assert answer.headers["content-type"] == "application/json", answer.text
    return answer.status_code, answer.json()["error"]["code"]


def send(app, parts, headers=None, target="/api/search", method="POST"):
    """(status, headers, body) that an application answers to a body in parts; a number in them is a pause, seconds."""
    parts, sent = list(parts), []

    async def receive():
        while parts and not isinstance(parts[0], bytes):
            await asyncio.sleep(parts.pop(0))
        part = parts.pop(0) if parts else b""
        return {"type": "http.request", "body": part, "more_body": bool(parts)}

    async def answer(message):
        sent.append(message)

    path, _, query = target.partition("?")
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": unquote(path),  # as uvicorn gives it: in its one decoded form, and never made tidy
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "scheme": "http",
        "headers": [
            (name.lower().encode(), value.encode("latin-1"))
            for name, value in [("host", "127.0.0.1"), *(headers or {}).items()]
        ],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }
    asyncio.run(app(scope, receive, answer))
    found = {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], found, b"".join(message["body"] for message in sent[1:])


# --- the host


LOCAL = (
    *("127.0.0.1", "127.0.0.1:8000", "localhost", "LocalHost:1", "localhost.", "localhost:", "127.0.0.1.:80"),
    *("[::1]", "[::1]:8000", "[fe80::1]:8000", "192.168.1.7:8000"),
)
FOREIGN = (
    *("evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example", "[evil.example]"),
    *("evil.example@127.0.0.1", "127.0.0.1 evil.example", "localhost,evil.example", "", ".", ":8000", "[::1", "[::1]x"),
    *("127.0.0.1:80:80", "127.0.0.1:port", "127.0.0.1:8000/", "2130706433", "0x7f.1"),
)


@pytest.mark.parametrize("host", LOCAL)
def test_an_address_and_localhost_are_names_of_this_server(client, host):
    assert client.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", FOREIGN)
def test_any_other_name_is_refused_as_a_rebinding_attack_needs_one(client, host):
    assert code(client.get("/api/info", headers={"Host": host})) == (421, "wrong_host")


def test_no_host_and_several_are_refused(server):
    app = create_app(server)
    for headers in ([], [(b"host", b"127.0.0.1"), (b"host", b"127.0.0.1")], [(b"host", b"127.0.0.1"), (b"host", b"x")]):
        sent = []

        async def answer(message, sent=sent):
            sent.append(message)

        scope = {"type": "http", "method": "GET", "path": "/healthz", "query_string": b"", "headers": headers}
        asyncio.run(app(scope, None, answer))
        assert sent[0]["status"] == 421


def test_a_server_goes_by_the_names_it_was_told(asking):
    client = asking(hosts=("pictures.home",))
    assert client.get("/healthz", headers={"Host": "Pictures.Home:8000"}).status_code == 200
    assert client.get("/healthz", headers={"Host": "other.home"}).status_code == 421


@pytest.mark.parametrize(
    ("host", "name"),
    [("a:1", "a"), ("[::1]:1", "::1"), ("[::1]", "::1"), ("A.", "a"), ("::1", None), ("", None), ("a:x", None)],
)
def test_a_host_is_its_name_without_the_port(host, name):
    assert host_name(host) == name or (host == "::1" and host_name(host) == ":")  # no address, so refused


def test_only_this_machine_reaches_a_loopback_address():
    assert all(map(is_loopback, ("127.0.0.1", "localhost", "::1", "127.8.8.8")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.1.7", "example.org", "127.0.0.1.example.org", "")))


def test_who_comes_by_a_wrong_name_learns_nothing_of_the_collection(client):
    answer = client.get("/", headers={"Host": "evil.example", **PAGE})
    assert code(answer) == (421, "wrong_host")
    assert "photos" not in answer.text


# --- the token


@pytest.fixture
def locked(asking):
    """A server with a token; its client keeps no cookies between requests."""
    client = asking(token='s3cr"et;,\\')
    yield client
    client.cookies.clear()


def test_without_the_token_nothing_of_the_collection_is_told(locked):
    for path in (
        "/",
        "/api/info",
        "/api/openapi.json",
        "/metrics",
        "/images/a/4.png",
        "/pictures/320/a/4.png",
        "/dupes",
    ):
        answer = locked.get(path)
        assert code(answer) == (401, "token_needed"), path
        assert answer.headers["www-authenticate"] == "Bearer"
    assert code(locked.post("/api/search", data={"id": "a/4.png"})) == (401, "token_needed")
    assert code(locked.post("/queries", files={"image": b"x"})) == (401, "token_needed")


def test_what_the_login_page_needs_is_free(locked):
    assert locked.get("/healthz").json() == {"status": "ready"}
    assert locked.get("/static/login.css").status_code == 200


@pytest.mark.parametrize("path", ["/static/../api/info", "/static/%2e%2e/api/info", "/static/x", "/static//api/info"])
def test_no_way_leads_past_the_token_through_what_is_free(locked, path):
    answer = locked.get(path, headers=PAGE)
    assert answer.status_code in (401, 404)
    assert "photos" not in answer.text


@pytest.mark.parametrize("given", ["wrong", "", 's3cr"et;,', 's3cr"et;,\\\\', "s3cr\xe9t", 'S3CR"ET;,\\'])
def test_a_wrong_token_is_none(locked, given):
    answer = locked.get("/api/info", headers={"Authorization": f"Bearer {given}".encode("latin-1")})
    assert code(answer) == (401, "token_needed")
    assert code(locked.get("/api/info", headers={"Cookie": f"imgret_token={given}".encode("latin-1")}))[0] == 401
    assert locked.post("/login", data={"token": given}).status_code == 401


def test_a_program_gives_the_token_as_a_bearer_does(locked):
    for words in ('Bearer s3cr"et;,\\', 'bearer   s3cr"et;,\\ '):
        assert locked.get("/api/info", headers={"Authorization": words}).status_code == 200
    assert locked.get("/api/info", headers={"Authorization": 'Basic s3cr"et;,\\'}).status_code == 401


def test_a_person_logs_in_once_and_the_page_opens(locked):
    page = locked.get("/", headers=PAGE)
    assert page.status_code == 401
    assert 'action="/login"' in page.text
    answer = locked.post("/login", data={"token": 's3cr"et;,\\'}, headers={"Origin": BASE})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(re.split("; ", cookie))
    opened = locked.get("/", headers={**PAGE, "Cookie": cookie.partition(";")[0]})
    assert opened.status_code == 200
    assert "photos" in opened.text


def test_cookies_of_others_at_this_address_are_no_hindrance(locked):
    cookie = locked.post("/login", data={"token": 's3cr"et;,\\'}).headers["set-cookie"].partition(";")[0]
    for others in ('theirs={"a": 1}', "a b=c", "=", "x=\xff", "imgret_token=old", ";;;"):
        given = f"{others}; {cookie}".encode("latin-1")
        assert locked.get("/api/info", headers={"Cookie": given}).status_code == 200, others


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.get("/", headers=PAGE),
        lambda client: client.get("/login", headers=PAGE),
        lambda client: client.get("/static/none", headers=PAGE),
        lambda client: client.put("/login", headers=PAGE),
        lambda client: client.post("/healthz", headers=PAGE),
        lambda client: client.post("/login", data={"token": "wrong"}, headers=PAGE),
        lambda client: client.post("/login", data={"token": "x" * 990}, headers=PAGE),
        lambda client: client.post("/login", data={"token": "x" * 1001}, headers=PAGE),
        lambda client: client.post("/login", content=b"x", headers={**PAGE, **MULTIPART}),
        lambda client: client.post("/login", content=b"token=%ff&=&&", headers={**PAGE, **FORM}),
        lambda client: client.get("/", headers={**PAGE, "Host": "evil.example"}),
        lambda client: client.post("/login", headers={**PAGE, "Origin": "http://evil.example"}),
        lambda client: client.post("/queries", headers={**PAGE, "Content-Length": "9" * 12}),
    ],
)
def test_who_does_not_know_the_token_learns_nothing_of_the_collection(locked, ask):
    answer = ask(locked)
    assert 400 <= answer.status_code < 500
    assert "photos" not in answer.text
    assert "images" not in answer.text


def test_a_wrong_token_on_the_login_page_shows_it_again(locked):
    answer = locked.post("/login", data={"token": "wrong"}, headers=PAGE)
    assert answer.status_code == 401
    assert 'action="/login"' in answer.text
    assert "set-cookie" not in answer.headers


# --- where a request comes from


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9000"},
        {"Origin": "http://127.0.0.1:8000.evil.example"},
        {"Origin": "http://evil.example@127.0.0.1:8000"},
        {"Origin": "http://[::1"},
        {"Origin": "ftp://127.0.0.1:8000"},
        {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": BASE},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
    ],
)
@pytest.mark.parametrize("path", ["/api/search", "/queries", "/dupes", "/login"])
def test_a_page_of_another_site_can_send_nothing(client, headers, path):
    assert code(client.post(path, data={"id": "a/4.png"}, headers=headers)) == (403, "foreign_origin")


@pytest.mark.parametrize(
    "headers",
    [{}, {"Origin": BASE}, {"Origin": BASE, "Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}],
)
def test_a_page_of_this_server_and_a_program_can(client, headers):
    assert client.post("/api/search", data={"id": "a/4.png"}, headers=headers).status_code == 200


@pytest.mark.parametrize("destination", ["image", "script", "empty", "iframe"])
def test_a_page_of_another_site_cannot_make_this_server_compute_by_what_it_shows(server, client, destination):
    mode = "navigate" if destination == "iframe" else "no-cors"
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": destination}
    for path in ("/dupes?threshold=0.77", "/map", "/results?like=a/4.png", "/pictures/320/a/4.png", "/static/page.js"):
        assert code(client.get(path, headers=headers)) == (403, "foreign_origin")
    assert 0.77 not in server.dupes
    assert code(client.get("/api/info", headers={"Origin": "http://evil.example"}))[0] == 403


def test_a_link_on_another_site_leads_here(client):
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert client.get("/browse", headers=headers).status_code == 200


# --- the body


@pytest.mark.parametrize("length", ["-1", "1e3", "5, 5", "", "+5", "0x10", "²"])
def test_a_length_that_is_no_number_is_refused(client, length):
    answer = client.post("/api/search", content=b"x", headers={"Content-Length": length.encode("latin-1")})
    assert code(answer) == (400, "bad_request")


@pytest.mark.parametrize("length", [(32 << 20) + 1, 10**30, "9" * 5000])
def test_a_length_that_is_too_large_is_refused_before_the_body_comes(client, length):
    status, _, body = send(client.app, [], {**MULTIPART, "Content-Length": str(length)})
    assert (status, json.loads(body)["error"]["code"]) == (413, "too_large")


@pytest.mark.parametrize("headers", [{}, {"Content-Length": "10"}])
def test_a_body_that_grows_too_large_is_refused_whatever_was_said_of_it(make_server, headers):
    server = make_server(most_bytes=1000)
    status, found, body = send(create_app(server), [FILE, *[b"x" * 100] * 1000], {**MULTIPART, **headers})
    assert (status, json.loads(body)["error"]["code"]) == (413, "too_large")
    assert found["content-security-policy"] == POLICY
    assert b'imgret_requests_total{method="POST",route="/api/search",status="413"} 1.0' in server.metrics.text()


def test_an_upload_may_be_large_and_a_form_without_a_picture_may_not(client):
    begun = time.perf_counter()
    for path in ("/api/search", "/dupes", "/queries"):
        assert code(client.post(path, content=b"&" * (2 << 20), headers=FORM)) == (413, "too_large")
    status, _, _ = send(client.app, [b"&" * 65536] * 64, FORM)
    assert status == 413
    assert time.perf_counter() - begun < 5


def test_too_much_sent_at_a_time_is_told_to_come_again(make_server, monkeypatch):
    from imgret.serve import guard

    monkeypatch.setattr(guard, "_AT_ONCE", 2)
    app = create_app(make_server(most_bytes=1 << 20))
    app.held = (2 << 20) - 10
    status, headers, body = send(app, [b"x" * 100, b"x"], MULTIPART)
    assert (status, json.loads(body)["error"]["code"]) == (503, "busy")
    assert headers["retry-after"] == "2"
    assert app.held == (2 << 20) - 10  # what was sent is let go


def test_a_body_that_comes_too_slowly_is_told_so_and_hung_up_on(make_server):
    app = create_app(make_server(body_seconds=0.3))
    begun = time.perf_counter()
    status, headers, body = send(app, [FILE, *[0.1, b"x"] * 100], MULTIPART)
    assert (status, json.loads(body)["error"]["code"]) == (408, "too_slow")
    assert headers["connection"] == "close"
    assert time.perf_counter() - begun < 3


def test_a_client_that_goes_away_in_the_middle_is_no_error(server):
    app, sent = create_app(server), []
    messages = [{"type": "http.request", "body": b"--x\r\n", "more_body": True}, {"type": "http.disconnect"}]

    async def receive():
        return messages.pop(0) if len(messages) > 1 else messages[0]

    async def answer(message):
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"content-type", b"multipart/form-data; boundary=x")]
    scope = {"type": "http", "method": "POST", "path": "/api/search", "query_string": b"", "headers": headers}
    asyncio.run(app(scope, receive, answer))
    assert [message["status"] for message in sent if "status" in message] in ([], [400])
    assert app.held == 0


@pytest.mark.parametrize(
    "charset", ["unicode_escape", "utf-7", "raw_unicode_escape", "idna", "utf-16", 'utf-8"; charset="utf-7', "UTF-7"]
)
def test_text_in_an_encoding_that_could_make_no_text_is_refused(client, charset):
    body = b'--x\r\nContent-Disposition: form-data; name="id"\r\n\r\n\\ud800+2AA-\r\n--x--\r\n'
    for kind in ("multipart/form-data; boundary=x", "application/x-www-form-urlencoded"):
        headers = {"Content-Type": f'{kind}; charset="{charset}"'}
        assert code(client.post("/api/search", content=body, headers=headers)) == (415, "unsupported")
    split = "multipart/form-data; boundary=x; charset*0=uni; charset*1=code_escape"
    assert code(client.post("/api/search", content=body, headers={"Content-Type": split})) == (415, "unsupported")


def test_utf_8_may_be_named(client):
    for charset in ("utf-8", '"UTF-8"'):
        kind = {"Content-Type": f"application/x-www-form-urlencoded; charset={charset}"}
        assert client.post("/api/search", content="id=a/4.png", headers=kind).status_code == 200


# --- every answer


ANSWERS = [
    ("GET", "/", 200),
    ("GET", "/search", 303),
    ("GET", "/api/info", 200),
    ("GET", "/api/openapi.json", 200),
    ("GET", "/healthz", 200),
    ("GET", "/metrics", 200),
    ("GET", "/static/page.css", 200),
    ("GET", "/static/none", 404),
    ("GET", "/look/base.css", 200),
    ("GET", "/pictures/320/a/4.png", 200),
    ("GET", "/pictures/320/none", 404),
    ("GET", "/none", 404),
    ("GET", "/images/none", 404),
    ("GET", "/browse?after=x", 422),
    ("POST", "/api/search", 422),
    ("POST", "/browse", 405),
    ("PUT", "/api/search", 405),
    ("DELETE", "/images/a/4.png", 405),
    ("OPTIONS", "/api/search", 405),
    ("TRACE", "/", 405),
    ("PROPFIND", "/", 405),
    ("HEAD", "/", 200),
    ("HEAD", "/none", 404),
]


@pytest.mark.parametrize(("method", "path", "status"), ANSWERS)
def test_every_answer_says_what_a_browser_may_do_with_it_and_none_lets_other_sites_in(client, method, path, status):
    for headers in ({}, PAGE, {"Access-Control-Request-Method": "POST"}):
        answer = client.request(method, path, headers=headers)
        assert answer.status_code == status
        assert answer.headers["content-security-policy"] == POLICY
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["cache-control"]
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert "server" not in answer.headers


def test_the_policy_lets_no_script_in_that_stands_in_a_page_or_comes_from_elsewhere():
    rules = dict(part.strip().split(" ", 1) for part in POLICY.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == rules["form-action"] == "'self'"
    assert rules["base-uri"] == rules["frame-ancestors"] == "'none'"
    assert "unsafe" not in POLICY


@pytest.mark.parametrize("path", ["/", "/healthz", "/api/info", "/static/page.css", "/pictures/320/a/4.png", "/none"])
def test_a_head_is_that_of_the_answer_without_its_body(client, path):
    head, whole = client.head(path), client.get(path)
    assert (head.status_code, head.content) == (whole.status_code, b"")
    assert head.headers["content-length"] == str(len(whole.content))
    assert head.headers["content-type"] == whole.headers["content-type"]


@pytest.mark.parametrize(("path", "status"), [("/none", 404), ("/images/none", 404), ("/browse?after=x", 422)])
def test_an_error_is_a_page_for_browsers_and_json_for_programs(client, path, status):
    assert code(client.get(path))[0] == code(client.get(path, headers={"Accept": "*/*"}))[0] == status
    page = client.get(path, headers=PAGE)
    assert (page.status_code, page.headers["content-type"]) == (status, "text/html; charset=utf-8")
    assert 'role="alert"' in page.text
    assert code(client.get("/api/images/none", headers=PAGE)) == (404, "not_found")


def test_a_failure_of_the_server_is_told_as_any_other_error_and_tells_nothing_of_itself(server, monkeypatch):
    from imgret.serve import pages

    def fail(*_):
        raise RuntimeError("a secret")

    monkeypatch.setattr(pages, "_cards", fail)
    client = TestClient(create_app(server), base_url=BASE, raise_server_exceptions=False)
    answer = client.get("/browse")
    assert code(answer) == (500, "internal")
    assert answer.headers["content-security-policy"] == POLICY
    page = client.get("/browse", headers=PAGE)
    assert (page.status_code, page.headers["content-type"]) == (500, "text/html; charset=utf-8")
    assert "secret" not in answer.text + page.text


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found, self.inside, self.last = [], "", ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.last = tag
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.last in ("script", "style"):
            self.inside += data.strip()

    def handle_endtag(self, tag):
        self.last = ""


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 200),
        ("/browse?text=%3Cscript%3Ealert(1)%3C/script%3E", 200),
        ("/images/a/4.png", 200),
        ("/search?like=a/4.png&box=0,0,9,9", 200),
        ("/results?like=a/4.png", 200),
        ("/results?like=a/4.png&rerank=%3Cscript%3E", 200),
        ("/why?like=a/4.png&hit=b/9.png", 200),
        ("/dupes?threshold=0.999", 200),
        ("/map", 200),
        ("/none", 404),
        ("/browse?after=%3Cscript%3E", 422),
        ("/images/%22onerror=%22alert(1)", 404),
    ],
)
def test_no_page_has_script_style_or_handlers_in_it(client, path, status):
    answer = client.get(path, headers=PAGE)
    assert answer.status_code == status
    tags = Tags(answer.text)
    assert tags.found
    assert tags.inside == ""
    for tag, attrs in tags.found:
        assert tag not in ("style", "iframe", "object", "embed", "base"), tag
        assert not [name for name in attrs if name == "style" or name.startswith(("on", "hx-on"))], (tag, attrs)
        for name in ("src", "href", "action", "hx-get", "hx-post"):
            assert not re.match(r"\s*(javascript|https?|//)", attrs.get(name) or "", re.IGNORECASE), (tag, attrs)


def test_the_login_page_has_neither(locked):
    tags = Tags(locked.get("/", headers=PAGE).text)
    assert tags.inside == ""
    assert not [tag for tag, attrs in tags.found if tag == "script" or "style" in attrs]
