from __future__ import annotations

import asyncio
import io
import json
import os
import pickle
import signal
import struct
import threading
import time
from contextlib import suppress
from functools import cache
from multiprocessing import Pipe

import numpy as np
import pytest
from PIL import Image

from imgret.images.decode import DecodeRule, Undecodable
from imgret.images.image_file import ImageFile
from imgret.serve import decoders
from imgret.serve.decode_worker import Job, Picture, most_bytes, read_answer
from imgret.serve.decoders import Decoders
from imgret.serve.problems import Problem
from tests.pictures import textured

RULE = DecodeRule(64)


def job(rule=RULE, *, name="a.png", data=None, jpeg=False):
    """A small picture to decode."""
    file = io.BytesIO()
    textured(1).save(file, "PNG")
    data = file.getvalue() if data is None else data
    return Job(ImageFile(name, "", "", len(data), 0), rule, data, jpeg)


@cache
def slow():
    """A picture of few bytes that takes seconds to decode: 36 megapixels of floats, all of them zero."""
    file = io.BytesIO()
    Image.new("F", (6000, 6000)).save(file, "TIFF", compression="tiff_adobe_deflate")
    return job(name="slow.tif", data=file.getvalue())


@pytest.fixture
def one():
    """A single decoder, begun, with ten seconds for a picture."""
    made = Decoders(1, 10)
    assert isinstance(made.run(job()), Picture)
    yield made
    made.close()


def process(made):
    (worker,) = made._workers
    return worker._process


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_pixels_and_pictures_come_back_as_they_are(one):
    found = one.run(job())
    assert (found.width, found.height) == (64, 48)
    assert np.array_equal(found.pixels, np.asarray(textured(1).convert("RGB")))
    assert found.pixels.flags.writeable
    assert Image.open(io.BytesIO(one.run(job(jpeg=True)).pixels)).size == (64, 48)
    assert one.run(job(data=b"no picture")).reason == "unreadable"
    tiny = one.run(job(DecodeRule(1), jpeg=True))  # its JPEG is larger than its pixels
    assert Image.open(io.BytesIO(tiny.pixels)).size == (1, 1)


def test_a_picture_that_takes_too_long_ends_its_worker_and_the_next_is_answered(one):
    before = process(one)
    one._seconds = 0.3
    begun = time.monotonic()
    found = one.run(slow())
    assert found == Undecodable("too_slow", "it takes longer than 0.3 s to decode")
    assert time.monotonic() - begun < 3
    assert gone(before.pid)
    one._seconds = 10
    assert isinstance(one.run(job()), Picture)
    assert process(one).pid != before.pid


def test_the_first_picture_of_a_worker_has_no_more_time_than_the_next(monkeypatch):
    made = Decoders(1, 0.3)
    try:
        assert made.run(slow()).reason == "too_slow"
        monkeypatch.setattr(decoders._Worker, "ask", lambda self, job, seconds: seconds)
        assert made.run(job()) == 0.3
    finally:
        made.close()


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_a_worker_that_was_killed_is_replaced(one, number):
    before = process(one)
    os.kill(before.pid, number)
    before.join(10)
    assert one.run(job()).reason == "unreadable"  # whoever asked when it was found out
    assert isinstance(one.run(job()), Picture)
    assert process(one).pid != before.pid


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_worker_that_is_killed_in_the_middle_of_a_picture_is_told_and_replaced(one):
    before = process(one)
    threading.Timer(0.3, os.kill, (before.pid, signal.SIGKILL)).start()
    assert one.run(slow()).reason == "unreadable"
    assert isinstance(one.run(job()), Picture)


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_worker_that_stands_still_has_no_more_time_than_any(one):
    os.kill(process(one).pid, signal.SIGSTOP)
    one._seconds = 0.3
    begun = time.monotonic()
    assert one.run(job()).reason == "too_slow"
    assert time.monotonic() - begun < 3


def test_more_than_can_wait_are_told_to_come_again():
    made = Decoders(1, 10, most_waiting=2)
    held = threading.Event()

    def hold(job):
        held.wait(10)
        return Undecodable("held", "held")

    made.run = hold

    async def ask():
        waiting = [asyncio.ensure_future(made(job())) for _ in range(2)]
        await asyncio.sleep(0.05)
        assert made.waiting == 2
        with pytest.raises(Problem, match="too many") as told:
            await made(job())
        held.set()
        return told.value, await asyncio.gather(*waiting)

    problem, answers = asyncio.run(ask())
    assert (problem.status, problem.code, problem.headers["Retry-After"]) == (503, "busy", "2")
    assert [answer.reason for answer in answers] == ["held", "held"]
    assert made.waiting == 0
    made.close()


def test_whoever_goes_away_leaves_no_place_taken(one):
    async def ask():
        asked = asyncio.ensure_future(one(job()))
        await asyncio.sleep(0)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        assert one.waiting == 0
        return await one(job())

    assert isinstance(asyncio.run(ask()), Picture)


def test_closing_ends_every_process_also_in_the_middle_of_a_picture():
    made = Decoders(2, 30)
    found = []
    threads = [threading.Thread(target=lambda: found.append(made.run(slow()))) for _ in range(2)]
    for thread in threads:
        thread.start()
    while len(made._workers) < 2:
        time.sleep(0.01)
    time.sleep(0.5)
    pids = [worker._process.pid for worker in made._workers]
    begun = time.monotonic()
    made.close()
    for thread in threads:
        thread.join(10)
    assert time.monotonic() - begun < 3
    assert len(found) == 2
    assert all(map(gone, pids))
    assert not made._workers


def test_closing_twice_and_before_anything_was_decoded_is_nothing(one):
    idle = Decoders(2, 1)
    for made in (idle, one, one):
        made.close()


def test_where_no_process_can_be_begun_that_is_told_and_the_next_may_be(monkeypatch):
    made = Decoders(1, 10)

    def fail():
        raise OSError("too many files are open")

    with monkeypatch.context() as patch:
        patch.setattr(decoders, "_Worker", fail)
        for _ in range(3):
            with pytest.raises(Problem, match="no process") as told:
                made.run(job())
            assert (told.value.status, told.value.code) == (503, "busy")
    assert isinstance(made.run(job()), Picture)
    made.close()


class Forger:
    """Stands in place of a worker's process."""

    def __init__(self, theirs):
        self._theirs = theirs

    def kill(self):
        self._theirs.close()

    def join(self):
        pass


def forged(made, send):
    """What is made of the answer of a decoder that was taken over; `send` writes it to the pipe."""
    made._end(made._idle.get())
    worker = decoders._Worker.__new__(decoders._Worker)
    worker.connection, theirs = Pipe()
    worker._process, worker.spent = Forger(theirs), False
    made._idle.put(worker)

    def answer():
        with suppress(OSError, TypeError):  # it is hung up on; closed in the middle, a pipe has no handle
            send(theirs)

    sender = threading.Thread(target=answer)
    sender.start()
    found = made.run(job())
    sender.join(10)
    return found


class Bomb:
    """Tells when it is unpickled."""

    def __reduce__(self):
        return (print, ("unpickled",))


FORGED = {
    "code": pickle.dumps(Bomb()),
    "nothing": b"",
    "a list": b"[]",
    "no facts": b"{}",
    "null": b"null",
    "deeper than can be read": b"[" * 100_000,
    "no text": b"\xff\xfe",
    "half of a reason": b'{"reason": "x"}',
    "no shape": b'{"width": 1, "height": 1, "bytes": 1}',
    "an endless side": b'{"width": 1e999, "height": 1, "bytes": 1, "shape": null}',
    "no side": b'{"width": null, "height": 1, "bytes": 1, "shape": null}',
    "a shape that is none": b'{"width": 1, "height": 1, "bytes": 1, "shape": 5}',
    "one side": b'{"width": 1, "height": 1, "bytes": 1, "shape": [1]}',
    "three sides": b'{"width": 1, "height": 1, "bytes": 1, "shape": [1, 1, 3]}',
    "more than was sent": b'{"width": 1, "height": 1, "bytes": 1, "shape": [1000000, 1000000]}',
    "a longer number than is read": b"9" * 5000,
    "more than a head may have": b" " * (2 << 20),
}


@pytest.mark.parametrize("head", FORGED.values(), ids=FORGED)
def test_a_forged_answer_is_refused_and_runs_nothing(one, capsys, head):
    def send(theirs):
        theirs.send_bytes(head)
        theirs.send_bytes(b"abc")

    assert forged(one, send) == Undecodable("unreadable", "the decoder did not survive it")
    assert capsys.readouterr().out == ""
    assert isinstance(one.run(job()), Picture)


def test_an_answer_of_more_bytes_than_asked_for_is_not_read(one):
    def send(theirs):
        theirs.send_bytes(json.dumps({"width": 1, "height": 1, "bytes": 1, "shape": None}).encode())
        theirs.send_bytes(b"x" * (most_bytes(RULE) + 1))

    assert forged(one, send).reason == "unreadable"


@pytest.mark.parametrize(
    "parts",
    [[], [struct.pack("!i", 100)], [struct.pack("!i", 100), b"{"], [struct.pack("!i", 2), b"{}"]],
    ids=["none", "a length", "half a head", "a head alone"],
)
def test_an_answer_that_never_ends_has_no_more_time_than_any(one, parts):
    one._seconds = 0.3
    begun = time.monotonic()
    assert forged(one, lambda theirs: [os.write(theirs.fileno(), part) for part in parts]).reason == "too_slow"
    assert time.monotonic() - begun < 3


def test_an_answer_may_be_as_large_as_its_rule_says():
    square = np.zeros((128, 128, 3), np.uint8)
    ours, theirs = Pipe()
    theirs.send_bytes(json.dumps({"width": 1, "height": 1, "bytes": 1, "shape": [128, 128]}).encode())
    sender = threading.Thread(target=theirs.send_bytes, args=(square.tobytes(),))
    sender.start()
    rule = DecodeRule(64, slack=2.0)
    assert read_answer(ours, most_bytes(rule)).pixels.shape == square.shape
    sender.join()


@pytest.mark.skipif(os.name != "posix", reason="a script that is run")
def test_no_program_is_run_on_what_a_stranger_sent(tmp_path, monkeypatch):
    told = tmp_path / "told"
    script = tmp_path / "gs"
    script.write_text(f"#!/bin/sh\ntouch {told}\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    made = Decoders(1, 10)
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n"
    assert made.run(job(name="a.eps", data=postscript)).reason == "unreadable"
    made.close()
    assert not told.exists()
