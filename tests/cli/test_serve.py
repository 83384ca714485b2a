"""`imgret serve` as a user types it."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from typer.testing import CliRunner

from imgret import workflows
from imgret.cli.app import app
from imgret.extraction.job import ExtractJob
from imgret.serve import run
from tests.pictures import save

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """An index of three pictures, of a model that is there without weights."""
    folder = tmp_path_factory.mktemp("typed")
    for number in range(3):
        save(folder / "photos", f"{number}.png", number)
    images = (str(folder / "photos"),)
    options = {"weights": "none", "workers": 0, "precision": "fp32", "image_size": 64, "device": "cpu"}
    workflows.extract(ExtractJob(images=images, output=folder / "store", model="gem", **options))
    workflows.build_index([folder / "store"], folder / "index", kind="flat")
    return folder / "index"


@pytest.fixture
def settled(monkeypatch):
    """What the command asks for, in place of serving."""
    asked = {}
    monkeypatch.setattr(run, "serve", lambda path, **options: asked.update(options, path=path))
    monkeypatch.delenv("IMGRET_TOKEN", raising=False)
    return asked


def typed(*arguments, code=0, **environment):
    result = CliRunner().invoke(app, ["serve", *map(str, arguments)], env=environment)
    assert result.exit_code == code, result.output
    return result


class Served:
    """`imgret serve` in a process of its own, with all that it begins."""

    def __init__(self, *arguments, cwd):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
        environment.pop("IMGRET_TOKEN", None)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "imgret", "serve", *map(str, arguments), "--device", "cpu"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=cwd,
            start_new_session=True,
        )
        self.line = self.process.stderr.readline()
        found = re.search(r"http://([\d.]+):(\d+)/", self.line)
        assert found, self.line + self.process.stderr.read()
        self.address = found[1], int(found[2])

    def get(self, path):
        connection = http.client.HTTPConnection(*self.address, timeout=30)
        connection.request("GET", path)
        answer = connection.getresponse()
        found = answer.status, answer.read()
        connection.close()
        return found

    def wait(self):
        until = time.monotonic() + 60
        while self.get("/healthz")[0] != 200:
            assert time.monotonic() < until
            time.sleep(0.05)

    def end(self, number=signal.SIGINT):
        """Send a signal to the process and to all it began, as Ctrl-C does: what it said, and how long it took."""
        begun = time.monotonic()
        os.killpg(self.process.pid, number)
        out, err = self.process.communicate(timeout=30)
        took = time.monotonic() - begun
        while time.monotonic() - begun < took + 5:
            try:
                os.killpg(self.process.pid, 0)
            except ProcessLookupError:
                return out, err, took
            time.sleep(0.02)
        raise AssertionError("some of its processes are left")


@pytest.fixture
def serve(index, tmp_path):
    """Begin `imgret serve INDEX`; whatever is left of it is killed."""
    begun = []

    def start(*arguments):
        begun.append(Served(index, "--port", "0", *arguments, cwd=tmp_path))
        return begun[-1]

    yield start
    for one in begun:
        if one.process.poll() is None:
            os.killpg(one.process.pid, signal.SIGKILL)
            one.process.communicate()


posix = pytest.mark.skipif(os.name != "posix", reason="signals and groups of processes of POSIX")


@posix
def test_it_says_its_address_answers_and_ends_with_ctrl_c(serve, index, tmp_path):
    served = serve("--no-cache")
    assert served.line == f"{index} is served at http://127.0.0.1:{served.address[1]}/ (Ctrl-C ends it)\n"
    assert served.get("/")[0] == 200  # at once, while the model loads
    served.wait()
    assert served.get("/pictures/160/1.png")[1].startswith(b"\xff\xd8")  # a decoder is there
    assert json.loads(served.get("/api/info")[1])["model"]["name"] == "gem"
    out, err, took = served.end()
    assert served.process.returncode in (0, 130)
    assert out == ""
    assert len(err.splitlines()) <= 1, err
    assert "Traceback" not in err
    assert took < 5
    assert os.listdir(tmp_path) == []


@posix
@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0, 0.1, 0.3, 0.5, 0.8])
def test_it_ends_without_a_word_while_decoders_begin_and_the_model_loads(serve, seconds):
    served = serve("--no-cache")

    def ask(number):
        with suppress(OSError, http.client.HTTPException):  # it ended meanwhile
            served.get(f"/pictures/160/{number}.png")

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    _, err, took = served.end()
    for thread in threads:
        thread.join(30)
    assert len(err.splitlines()) <= 1, err
    assert took < 8


@posix
@pytest.mark.slow
def test_decoders_do_not_outlive_a_server_that_was_killed(serve):
    served = serve("--no-cache")
    assert served.get("/pictures/160/1.png")[0] == 200
    os.kill(served.process.pid, signal.SIGKILL)
    served.process.communicate(timeout=30)
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            os.killpg(served.process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)
    raise AssertionError("a decoder is left")


@posix
@pytest.mark.slow
def test_a_service_manager_ends_it_too(serve):
    served = serve("--no-cache")
    served.wait()
    served.get("/pictures/160/1.png")
    _, err, took = served.end(signal.SIGTERM)
    assert "Traceback" not in err
    assert took < 5


@posix
@pytest.mark.slow
def test_with_a_token_nobody_is_answered_without_it(serve):
    served = serve("--no-cache", "--host", "0.0.0.0", "--token", "s3cret")
    assert "listens at 0.0.0.0; everyone is asked for the token" in served.process.stderr.readline()
    assert served.get("/api/info")[0] == 401
    assert served.get("/healthz")[0] in (200, 503)
    served.end()


# --- what cannot be served


def test_an_address_that_others_reach_wants_a_token(index, monkeypatch):
    monkeypatch.delenv("IMGRET_TOKEN", raising=False)
    for host in ("0.0.0.0", "192.168.1.7", "::"):
        result = typed(index, "--host", host, "--port", "0", code=1)
        (line,) = result.stderr.splitlines()
        assert line.startswith(f"imgret: at {host} anyone on the network can search this collection")
        assert "--token TOKEN" in line
        assert result.stdout == ""


def test_a_path_that_is_no_index_is_told_in_a_line(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "photos", tmp_path / "none", tmp_path / "file"):
        result = typed(path, "--port", "0", code=1)
        (line,) = result.stderr.splitlines()
        assert line.startswith(f"imgret: {path}")
        assert result.stdout == ""


def test_a_port_that_is_taken_is_told_in_a_line(index):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = typed(index, "--port", port, "--no-cache", code=1)
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"imgret: 127.0.0.1 port {port} cannot be had")
    assert "--port" in line


@pytest.mark.parametrize("token", ["two words", "", " ", "s\u00e9cret", "tab\there", "new\nline"])
def test_a_token_that_cannot_be_sent_is_wrong_usage(index, settled, token):
    result = typed(index, "--token", token, code=2)
    assert "letters, digits and signs, without spaces" in re.sub(r"[\s│]+", " ", result.stderr)
    assert not settled


@pytest.mark.parametrize(
    "arguments",
    [
        ("--cache", "folder", "--no-cache"),
        ("--port", "65536"),
        ("--port", "-1"),
        ("--port", "http"),
        ("--upload-mb", "0"),
        ("--cache-mb", "0"),
        ("--max-megapixels", "0"),
        ("--tokn", "x"),
    ],
)
def test_what_makes_no_sense_is_wrong_usage(index, settled, arguments):
    typed(index, *arguments, code=2)
    assert not settled


@pytest.mark.parametrize("missing", ["uvicorn", "prometheus_client"])
def test_without_the_extra_one_line_says_how_to_install_it(index, missing):
    code = f"import sys; sys.modules[{missing!r}] = None; from imgret.cli.app import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "serve", str(index), "--port", "0", "--no-cache"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 1, done.stderr
    (line,) = done.stderr.splitlines()
    assert line == f"imgret: imgret serve needs {missing}; install it with: pip install 'imgret[serve]'"


# --- what is served


def test_every_option_reaches_the_server(index, settled, tmp_path):
    (tmp_path / "photos").mkdir()
    typed(
        index,
        *("--host", "0.0.0.0", "--port", "9", "--token", "s3cret", "--allow-host", "A.example", "--allow-host", "b"),
        *("--images", tmp_path / "photos", "--decisions", "said.csv", "--cache", tmp_path / "cache", "--cache-mb", "7"),
        *("--upload-mb", "3", "--max-megapixels", "2.5", "--offline"),
    )
    settings = settled["settings"]
    assert (settled["host"], settled["port"], settled["offline"]) == ("0.0.0.0", 9, True)
    assert (settled["path"], settled["images"]) == (index, tmp_path / "photos")
    assert (settings.token, settings.hosts) == ("s3cret", ("a.example", "b"))
    assert (settings.most_bytes, settings.most_pixels) == (3 << 20, 2_500_000)
    assert (settings.cache, settings.cache_bytes) == (tmp_path / "cache", 7 << 20)
    assert settings.decisions == Path("said.csv")


def test_alone_it_is_for_this_machine_and_keeps_pictures_in_the_cache_of_the_user(index, settled, tmp_path):
    typed(index, XDG_CACHE_HOME=str(tmp_path))
    assert (settled["host"], settled["port"], settled["settings"].token) == ("127.0.0.1", 8000, None)
    assert settled["settings"].cache == tmp_path / "imgret" / "serve"
    typed(index, "--no-cache")
    assert settled["settings"].cache is None


def test_the_token_may_come_from_the_environment_where_no_list_of_processes_shows_it(index, settled):
    typed(index, "--host", "0.0.0.0", IMGRET_TOKEN="s3cret")
    assert settled["settings"].token == "s3cret"
    assert "s3cret" not in typed("--help", IMGRET_TOKEN="s3cret").output
