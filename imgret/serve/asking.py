"""Asker: one thread that owns the model and the index, and answers what waits together."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import groupby
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from imgret.errors import ImgretError
from imgret.ids import escape
from imgret.serve.collection import Collection
from imgret.serve.problems import Problem

if TYPE_CHECKING:
    from imgret.extraction.describe import Describer
    from imgret.rerank import Step

_TOGETHER = 32  # questions answered at a time
Found = list[tuple[int, float]]
"""(row, score) each, best first."""


@dataclass(frozen=True)
class Question:
    """One search: by pixels [H, W, 3] uint8, or by a descriptor [D] that is there already."""

    name: str
    pixels: np.ndarray | None
    vector: np.ndarray | None
    k: int
    rerank: tuple[Step, ...] = ()


@dataclass
class _Asked:
    """A question with what its asker waits for."""

    question: Question
    answer: Future[Found] = field(default_factory=Future)
    vector: np.ndarray | None = None


class Asker:
    """Answers questions in batches, in the order in which they come.

    state    "loading", "ready" or "failed"; searches by descriptor are answered in every state
    failure  why the model could not be loaded
    batches, answered  counted since the start
    using_model        held by whoever calls the model
    """

    def __init__(self, collection: Collection, load: Callable[[], Describer], most_waiting: int = 128) -> None:
        self._collection = collection
        self._load = load
        self._most_waiting = most_waiting
        self._waiting: SimpleQueue[_Asked | None] = SimpleQueue()
        self._describer: Describer | None = None
        self.state: Literal["loading", "ready", "failed"] = "loading"
        self.failure = ""
        self.waiting = self.batches = self.answered = 0
        self._ended = False
        self._lock = threading.Lock()
        self.using_model = threading.Lock()
        self._loader = threading.Thread(target=self._load_model, name="imgret-loading", daemon=True)
        self._thread = threading.Thread(target=self._run, name="imgret-asking", daemon=True)

    def start(self) -> None:
        """Begin to load the model and to answer."""
        self._loader.start()
        self._thread.start()

    def stop(self) -> None:
        """End once what is being answered is answered; the rest is told, and whoever comes later."""
        with self._lock:
            self._ended = True
        self._waiting.put(None)
        self._thread.join()

    @property
    def describer(self) -> Describer:
        """The model; Problem while it loads or where it could not be loaded."""
        if self.state == "failed":
            message = f"the model could not be loaded: {escape(self.failure)}"
            raise Problem(503, "model_failed", message, {"Retry-After": "60"})
        if self._describer is None:
            raise Problem(503, "loading", "the model is still being loaded; ask again in a moment")
        return self._describer

    async def ask(self, question: Question, seconds: float) -> Found:
        """The best rows; Problem when too many wait, the model is not there, or it takes too long."""
        if question.pixels is not None:
            self.describer  # noqa: B018
        asked = _Asked(question)
        with self._lock:
            if self._ended:
                raise _ending()
            if self.waiting >= self._most_waiting:
                raise Problem(503, "busy", "too many searches wait already; ask again in a moment")
            self.waiting += 1
            self._waiting.put(asked)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(asked.answer), seconds)
        except asyncio.TimeoutError:
            raise Problem(503, "busy", f"no answer within {seconds:g} s; ask again in a moment") from None

    def _load_model(self) -> None:
        try:
            self._describer = self._load()
            self.state = "ready"
        except ImgretError as error:
            self.failure, self.state = str(error), "failed"
        except Exception as error:  # told on the page, where else would it be seen
            self.failure, self.state = f"{type(error).__name__}: {error}", "failed"
            raise

    def _run(self) -> None:
        while asked := self._next():
            going_on = [one for one in asked if one.answer.set_running_or_notify_cancel()]
            self.batches += 1
            self.answered += len(going_on)  # before anyone has an answer: who has one is counted
            self._answer(going_on)
            with self._lock:
                self.waiting -= len(asked)

    def _next(self) -> list[_Asked]:
        """The next questions, at least one; none at the end, of which whoever waits is told."""
        found = [self._waiting.get()]
        while not self._waiting.empty() and len(found) < _TOGETHER:
            found.append(self._waiting.get())
        if not self._ended:
            return [one for one in found if one is not None]
        while not self._waiting.empty():
            found.append(self._waiting.get())
        for one in found:
            if one is not None and one.answer.set_running_or_notify_cancel():
                one.answer.set_exception(_ending())
        return []

    def _answer(self, asked: Sequence[_Asked]) -> None:
        """Answer those together that can be; what fails for some is told to them and not to the others."""
        pictures = [one for one in asked if one.question.pixels is not None]
        self._alike(pictures, lambda one: one.question.pixels.shape, self._describe)  # type: ignore[union-attr]
        described = [one for one in asked if not one.answer.done()]
        self._alike(described, lambda one: (str(one.question.rerank), one.question.k), self._search)

    def _alike(
        self, asked: Sequence[_Asked], key: Callable[[_Asked], Any], work: Callable[[list[_Asked]], None]
    ) -> None:
        for _, group in groupby(sorted(asked, key=key), key):
            batch = list(group)
            try:
                work(batch)
            except Exception as error:
                problem = error if isinstance(error, Problem) else _told(error)
                for one in batch:
                    if not one.answer.done():
                        one.answer.set_exception(problem)

    def _describe(self, asked: list[_Asked]) -> None:
        """Descriptors of pixels of one size, which go through the model together."""
        with self.using_model:
            rows = self.describer(np.stack([one.question.pixels for one in asked if one.question.pixels is not None]))
        if (whitening := self._collection.searched.whitening) is not None:
            rows = whitening.apply(rows)
        for one, row in zip(asked, rows, strict=True):
            one.vector = row

    def _search(self, asked: list[_Asked]) -> None:
        from imgret.workflows.ranked import rankings

        question, database = asked[0].question, self._collection.ranked
        if not database.count:
            for one in asked:
                one.answer.set_result([])
            return
        vectors = [one.vector if one.question.vector is None else one.question.vector for one in asked]
        found = rankings(
            database,
            np.stack([vector for vector in vectors if vector is not None]),
            [one.question.name for one in asked],
            min(question.k, database.count),
            rerank=question.rerank,
        )
        pending = iter(asked)
        for ranking in found:
            for line in range(len(ranking.queries)):
                hits = [(int(row), float(score)) for row, score in ranking.hits(line)]
                next(pending).answer.set_result(hits)


def _ending() -> Problem:
    return Problem(503, "ending", "the server ends")


def _told(error: Exception) -> Problem:
    if isinstance(error, ImgretError):
        return Problem(422, "invalid", escape(str(error)))
    logging.getLogger(__name__).error("a search failed", exc_info=error)
    return Problem(500, "internal", f"the search failed ({type(error).__name__}); the server's log says more")
