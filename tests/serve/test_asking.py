from __future__ import annotations

import asyncio
import threading
import time

import numpy as np
import pytest
from starlette.testclient import TestClient

from imgret.errors import InputError
from imgret.rerank import parse_chain
from imgret.serve.app import create_app
from imgret.serve.asking import Asker, Question
from imgret.serve.collection import Collection
from imgret.serve.problems import Problem
from tests.serve.conftest import BASE

RED, BLUE = np.full((4, 4, 3), (200, 10, 10), np.uint8), np.full((6, 4, 3), (10, 10, 200), np.uint8)


class Describer:
    """The mean colour, made unit length; it waits for `go` and keeps the sizes of its batches."""

    def __init__(self):
        self.go, self.called = threading.Event(), threading.Event()
        self.go.set()
        self.batches = []

    def __call__(self, pixels):
        self.called.set()
        self.go.wait(10)
        self.batches.append(len(pixels))
        mean = pixels.reshape(len(pixels), -1, 3).mean(1).astype(np.float32)
        return mean / np.linalg.norm(mean, axis=1, keepdims=True)


@pytest.fixture
def collection(place):
    return Collection.open(place / "index")


@pytest.fixture
def describer():
    return Describer()


@pytest.fixture
def asker(collection, describer):
    made = Asker(collection, lambda: describer, most_waiting=40)
    made.start()
    made._loader.join()
    yield made
    describer.go.set()
    made.stop()


def question(pixels=None, *, k=3, rerank="", vector=None, name="query"):
    return Question(name, pixels, vector, k, parse_chain(rerank))


def ask(asker, *questions, seconds=10):
    """The answers to questions asked at once; a Problem where that is the answer."""

    async def all_of_them():
        return await asyncio.gather(*(asker.ask(one, seconds) for one in questions), return_exceptions=True)

    return asyncio.run(all_of_them())


def idle(asker):
    """Once nobody waits; an answer is there a moment before it is counted as answered."""
    until = time.monotonic() + 10
    while asker.waiting:
        assert time.monotonic() < until
        time.sleep(0.001)


def held(asker, describer, *questions, seconds=10):
    """As `ask`, of questions that all wait before the first is answered: they are one batch."""
    idle(asker)
    describer.go.clear()
    describer.called.clear()
    first = threading.Thread(target=ask, args=(asker, question(RED)))
    first.start()
    assert describer.called.wait(10)

    async def all_of_them():
        asked = [asyncio.ensure_future(asker.ask(one, seconds)) for one in questions]
        await asyncio.sleep(0.05)
        describer.go.set()
        return await asyncio.gather(*asked, return_exceptions=True)

    found = asyncio.run(all_of_them())
    first.join()
    return found


@pytest.fixture
def serving(make_server):
    """Clients of servers whose model is loaded by a function that is given."""
    opened = []

    def serve(load, **settings):
        made = make_server(model=load, **settings)
        one = TestClient(create_app(made), base_url=BASE, follow_redirects=False)
        one.__enter__()
        opened.append(one)
        return made, one

    yield serve
    for one in opened:
        one.__exit__(None, None, None)


def code(answer):
    return answer.status_code, answer.json()["error"]["code"]


# --- together


def test_every_question_of_a_batch_has_its_own_answer(asker, describer):
    asked = [
        question(RED, k=1),
        question(BLUE, k=4),
        question(RED, k=4, rerank="aqe:k=3"),
        question(BLUE, k=4, rerank="aqe:k=2"),
        question(vector=np.array([0, 1, 0], np.float32), k=2),
        question(BLUE, k=1),
        question(RED, k=12),
        question(RED, k=100),
    ]
    alone = [ask(asker, one)[0] for one in asked]
    batches = asker.batches
    together = held(asker, describer, *asked)
    assert asker.batches == batches + 2  # the one that was held, and all of these
    assert [len(found) for found in together] == [1, 4, 4, 4, 2, 1, 12, 12]
    for ours, theirs in zip(together, alone, strict=True):
        assert [row for row, _ in ours] == [row for row, _ in theirs]
        assert [score for _, score in ours] == pytest.approx([score for _, score in theirs], abs=1e-5)
    assert sorted(describer.batches[-2:]) == [3, 4]  # pictures of one size at a time


def test_what_fails_for_one_is_told_to_that_one(asker, describer, monkeypatch, caplog):
    from imgret.workflows import ranked

    rankings = ranked.rankings

    def some_fail(database, vectors, names, depth, *, rerank):
        if depth == 2:
            raise InputError("not with k=2")
        if depth == 3:
            raise ValueError("a secret")
        return rankings(database, vectors, names, depth, rerank=rerank)

    monkeypatch.setattr(ranked, "rankings", some_fail)
    first, second, third, fourth = held(
        asker,
        describer,
        question(BLUE, k=1),
        question(BLUE, k=2),
        question(BLUE, k=4),
        question(vector=np.ones(3), k=3),
    )
    assert (len(first), len(third)) == (1, 4)
    assert (second.status, second.code, second.message) == (422, "invalid", "not with k=2")
    assert (fourth.status, fourth.code) == (500, "internal")
    assert "secret" not in fourth.message
    assert "a secret" in caplog.text  # the log says more, as the message promises
    assert len(ask(asker, question(RED, k=1))[0]) == 1


def test_a_picture_that_the_model_fails_at_is_told_to_those_who_asked_with_one(asker, describer, monkeypatch):
    def fail(pixels):
        raise RuntimeError("no memory on the device")

    monkeypatch.setattr(asker, "_describer", fail)
    picture, row = ask(asker, question(RED), question(vector=np.array([1, 0, 0], np.float32)))
    assert (picture.status, picture.code) == (500, "internal")
    assert len(row) == 3


def test_more_questions_than_are_answered_at_a_time_are_all_answered(asker, describer):
    found = held(asker, describer, *[question(RED if number % 2 else BLUE) for number in range(39)])
    assert {tuple(row for row, _ in one) for one in found[::2]} == {tuple(row for row, _ in found[0])}
    assert all(len(one) == 3 for one in found)
    assert max(describer.batches) <= 32
    idle(asker)


# --- too many, too long


def test_too_many_that_wait_are_told_to_come_again(asker, describer):
    *answered, last = held(asker, describer, *[question(RED) for _ in range(40)])
    assert all(len(one) == 3 for one in answered)
    assert (last.status, last.code, last.headers["Retry-After"]) == (503, "busy", "2")
    idle(asker)
    assert len(ask(asker, question(RED))[0]) == 3


def test_who_waits_too_long_is_told_and_not_answered_later(asker, describer):
    describer.go.clear()
    first, second = ask(asker, question(RED), question(BLUE), seconds=0.2)
    assert (first.code, second.code) == ("busy", "busy")
    answered = asker.answered
    describer.go.set()
    assert len(ask(asker, question(RED))[0]) == 3
    assert asker.answered - answered <= 1  # nobody waited for the others any more
    idle(asker)


def test_the_interface_tells_busy_as_programs_expect_it(serving, describer, photo):
    made, client = serving(lambda: describer, most_waiting=1, answer_seconds=0.5)
    made.asker._loader.join()
    client.post("/api/search", files={"image": photo})  # a decoder is there
    describer.go.clear()
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(client.post("/api/search", files={"image": photo})))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    describer.go.set()
    assert [code(answer) for answer in found] == [(503, "busy")] * 3
    assert {answer.headers["retry-after"] for answer in found} == {"2"}
    page = client.get("/results?like=a%2F4.png&box=0,0,20,20")
    assert page.status_code == 200


# --- a model that is not there


def test_while_the_model_loads_searches_by_id_are_answered_and_others_told_to_wait(serving, describer, photo):
    loaded = threading.Event()

    def load():
        loaded.wait(20)
        return describer

    made, client = serving(load)
    try:
        assert (client.get("/healthz").status_code, client.get("/healthz").json()) == (503, {"status": "loading"})
        assert client.get("/api/info").json()["state"] == "loading"
        assert len(client.post("/api/search", data={"id": "a/4.png"}).json()["results"]) == 10
        assert client.get("/").status_code == client.get("/browse").status_code == 200
        answer = client.post("/api/search", files={"image": photo})
        assert code(answer) == (503, "loading")
        assert answer.headers["retry-after"] == "2"
        assert code(client.post("/api/search", data={"id": "a/4.png", "box": "0,0,9,9"})) == (503, "loading")
        address = client.post("/queries", files={"image": photo}).headers["location"]
        waiting = client.get(address.replace("/search", "/results"))
        assert "still being loaded" in waiting.text
        assert "hx-trigger" in waiting.text  # it asks again by itself
        assert code(client.get("/why?like=a%2F4.png&hit=b%2F9.png")) == (503, "loading")
    finally:
        loaded.set()
    made.asker._loader.join()
    assert client.get("/healthz").json() == {"status": "ready"}
    assert "a/4.png" in client.get(address.replace("/search", "/results")).text


def test_a_model_that_cannot_be_loaded_is_told_and_searches_by_id_work(serving, photo):
    def load():
        raise InputError("the weights \udcff are not <there>")

    made, client = serving(load)
    made.asker._loader.join()
    assert (client.get("/healthz").status_code, client.get("/healthz").json()) == (503, {"status": "failed"})
    assert client.get("/api/info").json()["failure"] == "the weights \\xff are not <there>"
    answer = client.post("/api/search", files={"image": photo})
    assert code(answer) == (503, "model_failed")
    assert answer.headers["retry-after"] == "60"
    assert "the weights \\xff are not <there>" in answer.json()["error"]["message"]
    assert len(client.post("/api/search", data={"id": "a/4.png"}).json()["results"]) == 10
    page = client.get("/", headers={"Accept": "text/html"})
    assert "could not be loaded" in page.text
    assert "are not &lt;there&gt;" in page.text


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # it is our bug, and printed as one
def test_a_model_that_fails_unexpectedly_is_told_by_its_kind(serving):
    def load():
        raise ZeroDivisionError("division by zero")

    made, client = serving(load)
    made.asker._loader.join()
    assert client.get("/api/info").json()["failure"] == "ZeroDivisionError: division by zero"


# --- the end


def test_stopping_ends_the_thread_and_tells_whoever_waits(collection, describer):
    asker = Asker(collection, lambda: describer)
    asker.start()
    asker._loader.join()
    describer.go.clear()

    async def ask_and_stop():
        asked = [asyncio.ensure_future(asker.ask(question(RED), 20)) for _ in range(40)]
        await asyncio.sleep(0.05)
        asked[-1].cancel()  # whoever went away is in the queue still
        await asyncio.sleep(0)
        threading.Timer(0.1, describer.go.set).start()
        await asyncio.to_thread(asker.stop)
        return await asyncio.gather(*asked, return_exceptions=True)

    found = asyncio.run(ask_and_stop())
    assert not asker._thread.is_alive()
    assert len(found[0]) == 3  # what was begun is answered
    ended = [one for one in found[:-1] if isinstance(one, Problem)]
    assert {(one.status, one.code) for one in ended} == {(503, "ending")}
    assert isinstance(found[-1], asyncio.CancelledError)
    (late,) = ask(asker, question(RED))
    assert late.code == "ending"  # at once, and not when its time is up


def test_stopping_does_not_wait_for_a_model_that_is_still_loading(collection, describer):
    loaded = threading.Event()
    asker = Asker(collection, lambda: loaded.wait(20) and describer)
    asker.start()
    begun = time.monotonic()
    asker.stop()
    assert time.monotonic() - begun < 2
    loaded.set()
    asker._loader.join()
