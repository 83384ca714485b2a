import threading, time, socket, pytest
from tests.serve.conftest import *
from imgret.serve.listening import bind, server_of, Patient
def show(*a): print(*a, flush=True)
@pytest.fixture
def served(make_server):
    made = make_server()
    l = bind("127.0.0.1", 0); s = server_of(create_app(made))
    t = threading.Thread(target=s.run, kwargs={"sockets":[l]}, daemon=True); t.start()
    while not s.started or made.asker.state=="loading": time.sleep(.02)
    yield l.getsockname(), s
    t0=time.time(); s.should_exit=True; t.join(30); show("stop took", time.time()-t0)
def test_slow_reader(served, monkeypatch):
    addr, s = served
    monkeypatch.setattr(Patient, "head_seconds", 1.0)
    c = socket.socket(); c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048); c.connect(addr)
    c.sendall(b"GET /static/htmx.min.js HTTP/1.1\r\nHost: localhost\r\n\r\n"*400)
    for _ in range(6): time.sleep(1); show("connections", len(s.server_state.connections))
    c.close()
def test_other(served):
    addr, s = served
    for raw in [b"GET http://evil.com/api/info HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.com\r\n\r\n",
        b"GET /" + b"a"*100000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n"*20000 + b"\r\n", b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde", b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", b"\x16\x03\x01\x02\x00", b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET /%ff%00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: 500\r\nExpect: 100-continue\r\n\r\n", b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000000\r\n\r\n", b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999999999999999999\r\n\r\n",]:
        c = socket.create_connection(addr); c.settimeout(1.5); 
        try: c.sendall(raw)
        except OSError as e: show("send", e)
        got=b""
        try:
            while (p:=c.recv(65536)): got+=p
            end="closed"
        except socket.timeout: end="open"
        except OSError as e: end=repr(e)
        show(raw[:60], "->", got.split(b"\r\n")[0], got[-90:] , end, b"content-security" in got)
        c.close()
