from __future__ import annotations

import http.client
import json
import re
import socket
import threading
import time
from contextlib import contextmanager, suppress

import pytest

from imgret.errors import InputError
from imgret.serve import run
from imgret.serve.app import create_app
from imgret.serve.guard import POLICY
from imgret.serve.listening import Patient, bind, server_of
from imgret.serve.settings import Settings

ASK = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
UPLOAD = (
    b"POST /api/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    b"Content-Length: 5000\r\n\r\n"
)
FILE = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'


@contextmanager
def served(made):
    """A real server on a free port: its address, and the uvicorn server."""
    with bind("127.0.0.1", 0) as listening:
        server = server_of(create_app(made))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        wait_for(lambda: server.started and made.asker.state != "loading")
        try:
            yield listening.getsockname(), server
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()


def wait_for(done, seconds=15):
    until = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.fixture(scope="module")
def running(make_server):
    with served(make_server(body_seconds=0.4, most_bytes=1 << 20)) as found:
        yield found


@pytest.fixture
def address(running):
    return running[0]


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(Patient, "client_seconds", 0.4)


@pytest.fixture
def connect(address):
    """Connections to the server, closed in the end."""
    opened = []

    def open_one():
        opened.append(socket.create_connection(address, timeout=10))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


def rest(connection):
    """All that still comes until the server hangs up."""
    found = b""
    with suppress(ConnectionResetError):
        while part := connection.recv(1 << 16):
            found += part
    return found


def told(answer):
    """(status, code) of an answer as it came over the wire; its headers are those of every other."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert f"content-security-policy: {POLICY}".encode() in head
    return int(head.split(b" ")[1]), json.loads(body)["error"]["code"]


def test_several_requests_go_over_one_connection(address):
    connection = http.client.HTTPConnection(*address, timeout=10)
    ports = set()
    for _ in range(5):
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b'{"status":"ready"}')
        ports.add(connection.sock.getsockname()[1])
    assert len(ports) == 1
    connection.close()


def test_requests_sent_ahead_are_answered_in_their_order(connect):
    connection = connect()
    last = ASK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    connection.sendall(ASK * 4 + ASK.replace(b"/healthz", b"/none") + last)
    assert re.findall(rb"HTTP/1.1 (\d+) ", rest(connection)) == [b"200"] * 4 + [b"404", b"200"]


@pytest.mark.parametrize(
    "head", [b"", b"GET / HT", ASK[:-2], b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 999]
)
def test_who_sends_half_a_head_is_hung_up_on(connect, impatient, head):
    connection, begun = connect(), time.monotonic()
    connection.sendall(head)
    assert rest(connection) == b""
    assert 0.3 < time.monotonic() - begun < 5


def test_who_sends_a_head_letter_by_letter_is_hung_up_on(connect, impatient):
    connection, begun = connect(), time.monotonic()
    with suppress(OSError):
        for letter in ASK * 20:
            connection.sendall(bytes([letter]))
            time.sleep(0.05)
    assert time.monotonic() - begun < 5


def test_who_says_nothing_after_an_answer_is_hung_up_on(connect, impatient):
    connection, begun = connect(), time.monotonic()
    connection.sendall(ASK)
    assert rest(connection).endswith(b'{"status":"ready"}')
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("part", [b"", b"x"])
def test_who_sends_a_body_slowly_is_told_so_and_hung_up_on(connect, part):
    connection, begun = connect(), time.monotonic()
    connection.sendall(UPLOAD + FILE)
    stop = threading.Event()

    def trickle():
        with suppress(OSError):
            while not stop.wait(0.05):
                connection.sendall(part)

    thread = threading.Thread(target=trickle)
    thread.start()
    answer = rest(connection)
    stop.set()
    thread.join()
    assert told(answer) == (408, "too_slow")
    assert time.monotonic() - begun < 5


def test_a_body_may_take_longer_than_a_head_may(make_server, place, impatient):
    with served(make_server(body_seconds=20)) as (address, _):
        photo = (place / "photos/a/4.png").read_bytes()
        body = FILE + photo + b"\r\n--x--\r\n"
        with socket.create_connection(address, timeout=10) as connection:
            connection.sendall(UPLOAD.replace(b"5000", str(len(body)).encode()))
            for start in range(0, len(body), len(body) // 4):
                time.sleep(0.25)
                connection.sendall(body[start : start + len(body) // 4])
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200")


def test_who_does_not_take_his_answers_is_hung_up_on(running, impatient):
    address, server = running
    wait_for(lambda: not server.server_state.connections)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(address)
        connection.sendall(ASK.replace(b"/healthz", b"/static/htmx.min.js") * 300)
        wait_for(lambda: server.server_state.connections)
        wait_for(lambda: not server.server_state.connections, 10)


def test_who_takes_his_answer_slowly_gets_all_of_it(running, impatient, monkeypatch):
    from imgret.serve import showing

    address, _ = running
    monkeypatch.setattr(showing, "sheet", lambda name: "x" * (8 << 20))
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        connection.connect(address)
        connection.sendall(ASK.replace(b"/healthz", b"/look/base.css"))
        found, begun = 0, time.monotonic()
        while found < 8 << 20:
            part = connection.recv(1 << 16)
            assert part
            found += len(part)
            time.sleep(0.01)
    assert time.monotonic() - begun > 0.8  # twice what a client has to begin with


@pytest.mark.parametrize("length", [b"Content-Length: 99999999", b"Transfer-Encoding: chunked"])
def test_a_body_too_large_is_told_so_while_it_is_still_being_sent(connect, length):
    connection = connect()
    connection.sendall(UPLOAD.replace(b"Content-Length: 5000", length))
    if b"chunked" in length:
        connection.sendall(b"%x\r\n%s\r\n" % (len(FILE), FILE))
        for _ in range(40):
            connection.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
    answer = connection.recv(1 << 16)
    while b"}}" not in answer:
        answer += connection.recv(1 << 16)
    assert told(answer) == (413, "too_large")


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"nothing at all\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X: " + b"y" * (1 << 20) + b"\r\n\r\n",
        UPLOAD.replace(b"Content-Length: 5000", b"Transfer-Encoding: chunked") + b"no length\r\n",
    ],
    ids=["tls", "words", "no host", "two hosts", "two lengths", "no ascii", "a megabyte", "a chunk"],
)
def test_what_is_no_http_is_told_so_in_the_shape_of_every_answer(connect, caplog, request_):
    connection = connect()
    with suppress(OSError):  # it is hung up on before it has sent all
        connection.sendall(request_)
    answer = rest(connection)
    if len(request_) < 1 << 20 or answer:
        assert told(answer) == (400, "bad_request")
    assert "Exception" not in caplog.text
    assert not [record for record in caplog.records if record.exc_info]


def test_a_foreign_host_in_the_address_leads_nowhere(connect):
    connection = connect()
    connection.sendall(b"GET http://evil.example/api/info HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
    assert told(rest(connection)) == (404, "not_found")


def test_more_connections_than_can_be_held_are_told_to_come_again(running, connect, monkeypatch):
    _, server = running
    wait_for(lambda: not server.server_state.connections)
    monkeypatch.setattr(Patient, "most_connections", 3)
    held = [connect() for _ in range(3)]
    wait_for(lambda: len(server.server_state.connections) == 3)
    assert told(rest(connect())) == (503, "busy")
    held[0].close()
    wait_for(lambda: len(server.server_state.connections) == 2)
    last = connect()
    last.sendall(ASK)
    assert last.recv(1 << 16).startswith(b"HTTP/1.1 200")


def test_clients_that_go_away_leave_nothing_behind(running, place):
    address, server = running
    photo = (place / "photos/a/4.png").read_bytes()
    body = FILE + photo + b"\r\n--x--\r\n"
    whole = UPLOAD.replace(b"5000", str(len(body)).encode()) + body
    for cut in (10, len(UPLOAD), len(UPLOAD) + len(FILE) + 100, len(whole)):
        for _ in range(10):
            with socket.create_connection(address, timeout=10) as connection:
                connection.sendall(whole[:cut])
    wait_for(lambda: not server.server_state.connections and not server.server_state.tasks)


def test_a_server_ends_at_once_though_a_client_holds_on(make_server):
    with served(make_server()) as (address, server):
        connection = socket.create_connection(address, timeout=10)
        connection.sendall(b"GET / HTTP")
        wait_for(lambda: server.server_state.connections)
        begun = time.monotonic()
    assert time.monotonic() - begun < 3
    connection.close()


def test_a_port_that_is_taken_is_named_with_what_to_type():
    with bind("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(InputError, match=f"127.0.0.1 port {port} cannot be had: .*--port"):
            bind("127.0.0.1", port)


@pytest.mark.parametrize("host", ["example.org", "127.0.0.1:80", "", "127.1", "*", "[::1]"])
def test_what_is_no_address_of_this_machine_is_told(host):
    with pytest.raises(InputError, match="no address of this machine"):
        bind(host, 0)


def test_localhost_is_the_address_that_only_this_machine_reaches():
    with bind("localhost", 0) as listening:
        assert listening.getsockname()[0] == "127.0.0.1"
        assert not listening.get_inheritable()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org"])
def test_where_others_reach_it_a_token_is_wanted_before_anything_is_opened(tmp_path, host):
    with pytest.raises(InputError, match=r"anyone on the network.*--token TOKEN"):
        run.serve(tmp_path / "none", host=host, settings=Settings())
