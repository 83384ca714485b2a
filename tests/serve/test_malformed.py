from __future__ import annotations

import json
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imgret.serve.app import create_app
from tests.serve.test_guard import send

MULTIPART = "multipart/form-data; boundary=x"
END = b"--x--\r\n"
TARGETS = ("/api/search", "/queries", "/dupes")


def part(head, body=b"", end=b"\r\n"):
    return b"--x\r\nContent-Disposition: form-data; " + head + b"\r\n\r\n" + body + end


def field(name, value):
    return part(b'name="' + name + b'"', value)


def file(name=b"a.png", body=b"", field=b"image"):
    return part(b'name="' + field + b'"; filename="' + name + b'"', body)


@pytest.fixture
def app(server):
    return create_app(server)


@pytest.fixture
def ask(app):
    """The code that a malformed form is answered with: one a client is told for its own fault, in JSON."""

    def post(body, kind=MULTIPART, target="/api/search"):
        body = body if isinstance(body, list) else [body[at : at + 65536] for at in range(0, len(body), 65536)] or [b""]
        begun = time.perf_counter()
        status, headers, answer = send(app, body, {} if kind is None else {"Content-Type": kind}, target)
        assert 400 <= status < 500, (status, answer)
        assert headers["content-type"] == "application/json"
        error = json.loads(answer)["error"]
        assert set(error) == {"code", "message"}
        assert time.perf_counter() - begun < 5
        return status, error["code"]

    return post


FORMS = {
    "no bytes": b"",
    "only the end": b"--x--\r\n",
    "no boundary in it": b"image=1",
    "another boundary": file(body=b"abc").replace(b"--x", b"--y") + b"--y--\r\n",
    "a part without a head": b"--x\r\n\r\nabc\r\n" + END,
    "a part without a disposition": b"--x\r\nContent-Type: image/png\r\n\r\nabc\r\n" + END,
    "a disposition without a name": part(b'filename="a.png"', b"abc") + END,
    "an unended quote": part(b'name="image', b"abc") + END,
    "a name without quotes": part(b"name=image; filename=a.png", b"abc") + END,
    "an empty name": part(b'name=""', b"abc") + END,
    "a head without its end": b"--x\r\nContent-Disposition: form-data; name=image",
    "a head line without a colon": b"--x\r\nContent-Disposition\r\n\r\nabc\r\n" + END,
    "no line ends": b'--xContent-Disposition: form-data; name="id"abc--x--',
    "lines of a Unix": file(body=b"abc").replace(b"\r\n", b"\n") + END,
    "cut in the file": file(body=b"abc")[:-3],
    "cut before the end": file(body=b"abc"),
    "cut in the end": file(body=b"abc") + b"--x-",
    "a null in the name": part(b'name="im\0age"; filename="a"', b"abc") + END,
    "an enormous head": part(b'name="' + b"a" * (2 << 20) + b'"', b"abc") + END,
    "an enormous field": field(b"id", b"a" * (3 << 20)) + END,
    "ten thousand fields": field(b"id", b"a") * 10_000 + END,
    "ten thousand files": file(body=b"a") * 10_000 + END,
    "ten thousand heads": b"--x\r\n" + b"X: y\r\n" * 10_000 + b"\r\n\r\n" + END,
    "a form in a form": part(b'name="image"', b"--y\r\n\r\n--y--") + END,
    "a field in place of the picture": field(b"image", b"\x89PNG") + END,
    "an empty file": file() + END,
    "a file of no name": file(b"", b"abc") + END,
    "a file in place of the id": file(field=b"id", body=b"a/4.png") + END,
    "a file in place of the number": field(b"id", b"a/4.png") + file(field=b"k", body=b"5") + END,
    "a file in place of the box": field(b"id", b"a/4.png") + file(field=b"box", body=b"0,0,9,9") + END,
    "a file in place of the chain": field(b"id", b"a/4.png") + file(field=b"rerank", body=b"aqe") + END,
    "two numbers of which one is none": field(b"id", b"a/4.png") + field(b"k", b"5") + field(b"k", b"x") + END,
    "a picture and an id": file(body=b"abc") + field(b"id", b"a/4.png") + END,
    "a picture and a field of its name": file(body=b"abc") + field(b"image", b"abc") + END,
    "bytes that are no text": field(b"id", b"\xff\xfe\x00") + END,
    "half of a character": field(b"id", b"\xed\xa0\x80") + END,
    "a number that is none": field(b"id", b"a/4.png") + field(b"k", "٣".encode() + b"\xff") + END,
    "an endless score": field(b"id", b"a/4.png") + field(b"min_score", b"1e999") + END,
    "a number of many digits": field(b"id", b"a/4.png") + field(b"k", b"9" * 5000) + END,
    "a box of many digits": field(b"id", b"a/4.png") + field(b"box", b"0,0,1," + b"9" * 5000) + END,
    "an encoding of its own": file(body=b"abc").replace(b"\r\n\r\n", b"\r\nContent-Transfer-Encoding: base64\r\n\r\n")
    + END,
    "a charset of its own": field(b"_charset_", b"utf-7") + field(b"id", b"+2AA-") + END,
}


# Starlette lets go of files whose part never ended without closing them
@pytest.mark.filterwarnings("ignore:Unclosed file <tempfile.SpooledTemporaryFile:ResourceWarning")
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("body", FORMS.values(), ids=FORMS)
def test_a_form_that_is_none_is_told_so(ask, body, target):
    status, code = ask(body, target=target)
    assert (status, code) in (
        (400, "bad_request"),
        (404, "not_found"),
        (413, "too_large"),
        (422, "invalid"),
        (422, "empty"),
        (422, "unreadable"),
        (422, "unsupported"),
        (422, "not_noted"),
    )


KINDS = {
    "none": None,
    "empty": "",
    "no boundary": "multipart/form-data",
    "an empty boundary": "multipart/form-data; boundary=",
    "a quoted empty boundary": 'multipart/form-data; boundary=""',
    "a boundary of another": "multipart/form-data; boundary=other",
    "a long boundary": "multipart/form-data; boundary=" + "x" * 5000,
    "a boundary of odd signs": "multipart/form-data; boundary=\xff\xfe",
    "a boundary with a line": 'multipart/form-data; boundary="x\\r\\n"',
    "other parts": "multipart/mixed; boundary=x",
    "JSON": "application/json",
    "JSON of a kind": "application/vnd.api+json",
    "a picture": "image/png",
    "text": "text/plain",
    "bytes": "application/octet-stream",
    "no kind": "x",
    "half a kind": "multipart/",
    "signs": ";;;===",
    "many": "multipart/form-data; boundary=x" + "; a=b" * 1000,
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_kind_that_is_no_form_is_told_so(ask, kind, target):
    for body in (file(body=b"abc") + END, b'{"id": "a/4.png"}', b"[" * 50_000, b"\x89PNG\r\n\x1a\n"):
        status, _ = ask(body, kind, target)
        assert status in (400, 413, 415, 422)


PLAIN = {
    "nothing": b"",
    "only signs": b"&&&&====&&&",
    "many fields": b"a&" * 5000,
    "one long field": b"id=" + b"a" * 500_000,
    "percent": b"id=%",
    "no hexadecimal": b"id=%zz",
    "no text": b"id=%ff%fe&k=5",
    "half of a character": b"id=%ed%a0%80",
    "a null": b"id=a%2f4.png%00",
    "lines": b"id=a/4.png\r\n&k=1",
    "twice": b"id=a&id=b",
    "brackets": b"id[]=a/4.png",
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("body", PLAIN.values(), ids=PLAIN)
def test_a_plain_form_that_is_none_is_told_so(ask, body, target):
    ask(body, "application/x-www-form-urlencoded", target)


NAMES = {
    "no text": b"\xff\xfe.png",
    "half of a character": b"\xed\xa0\x80.png",
    "a null": b"a\0.png",
    "a newline in quotes": b"a\\\n.png",
    "a quote": b'a\\".png',
    "script": b"<script>alert(1)</script>.png",
    "right to left": "\u202egnp.exe".encode(),
    "long": b"x" * 3000 + b".png",
    "dots": b"../../../etc/passwd",
    "escaped": b"\\xff\\x0a.png",
    "a box": b"a.png#1,2,3,4",
    "raw": b"a.cr2",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_whatever_a_file_is_called_its_picture_is_searched_with_or_refused_and_shown_as_text(app, photo, name):
    for target in ("/api/search", "/queries"):
        status, headers, body = send(app, [file(name, photo) + END], {"Content-Type": MULTIPART}, target)
        assert status in (200, 303, 400, 422), body
        if status == 200:
            assert json.loads(body)["results"][0]["id"] == "a/4.png"
        if status == 303:
            status, _, page = send(app, [], {"Accept": "text/html"}, headers["location"], "GET")
            assert status == 200
            assert b"<script>alert" not in page


def test_of_two_fields_one_counts(app):
    body = field(b"id", b"a/4.png") + field(b"k", b"2") + field(b"k", b"3") + END
    status, _, answer = send(app, [body], {"Content-Type": MULTIPART})
    assert status == 200
    assert len(json.loads(answer)["results"]) in (2, 3)


def test_a_field_that_nobody_knows_is_no_hindrance(app):
    body = field(b"other", b"x" * 1000) + file(field=b"more", body=b"x") + field(b"id", b"a/4.png") + END
    assert send(app, [body], {"Content-Type": MULTIPART})[0] == 200


def test_a_form_is_the_same_however_it_is_cut_into_pieces(app, photo):
    body = field(b"k", b"2") + file(body=photo) + END
    whole = send(app, [body], {"Content-Type": MULTIPART})[2]
    assert json.loads(whole)["results"][0]["id"] == "a/4.png"
    for size in (1, 7, 1000):
        pieces = [body[at : at + size] for at in range(0, len(body), size)]
        assert send(app, pieces, {"Content-Type": MULTIPART})[2] == whole


@pytest.mark.filterwarnings("ignore:Unclosed file <tempfile.SpooledTemporaryFile:ResourceWarning")
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_to_a_form_is_a_fault_of_the_server(app, photo, data):
    body = bytearray(field(b"k", b"2") + field(b"box", b"0,0,9,9") + file(body=photo[:200]) + END)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(body) - 1))
        match data.draw(st.sampled_from(["change", "cut", "add", "drop"])):
            case "change":
                body[at] = data.draw(st.integers(0, 255))
            case "cut":
                del body[max(at, 1) :]
            case "add":
                body[at:at] = data.draw(st.sampled_from([b"\r\n", b"--x", b"--x--", b'"', b";", b"\0", b"\xff", b": "]))
            case _:
                del body[at : at + data.draw(st.integers(0, 9))]
                body = body or bytearray(b"x")
    status, headers, answer = send(app, [bytes(body)], {"Content-Type": MULTIPART})
    assert status < 500, (bytes(body), answer)
    assert headers["content-type"] == "application/json"
