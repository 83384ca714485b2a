"""Decoders: worker processes that decode what strangers send, each job within a time limit."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from queue import SimpleQueue

from imgret.images.decode import Undecodable
from imgret.serve.decode_worker import Job, Picture, read_answer, serve_jobs
from imgret.serve.problems import Problem

_START = 60.0  # seconds a new worker may take to begin


class _Worker:
    """One process and the pipe to it."""

    def __init__(self) -> None:
        # spawn on every system: fork is unsafe beside torch's threads
        context = get_context("spawn")
        self.connection: Connection
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=serve_jobs, args=(theirs,), name="imgret-decoder", daemon=True)
        self._process.start()
        theirs.close()
        self.fresh = True

    def stop(self) -> None:
        self.connection.close()
        self._process.kill()
        self._process.join()


class Decoders:
    """`count` worker processes, begun when they are needed. A job that takes longer than `seconds` ends its worker."""

    def __init__(self, count: int, seconds: float, most_waiting: int = 256) -> None:
        self._seconds = seconds
        self._most_waiting = most_waiting
        self._threads = ThreadPoolExecutor(count, "imgret-decoding")
        self._workers: SimpleQueue[_Worker | None] = SimpleQueue()
        for _ in range(count):
            self._workers.put(None)
        self._count = count
        self.waiting = 0

    async def __call__(self, job: Job) -> Picture | Undecodable:
        """Decode; Problem "busy" when too many wait already. The job goes on where the asker does not."""
        if self.waiting >= self._most_waiting:
            raise Problem(503, "busy", "too many pictures wait to be decoded; ask again in a moment")
        self.waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self.run, job)
        finally:
            self.waiting -= 1

    def run(self, job: Job) -> Picture | Undecodable:
        """Decode in a worker, and wait for it."""
        worker = self._workers.get() or _Worker()
        found: Picture | Undecodable
        try:
            worker.connection.send(job)
            limit = self._seconds + (_START if worker.fresh else 0)
            if worker.connection.poll(limit):
                found = read_answer(worker.connection)
                worker.fresh = False
                self._workers.put(worker)
                return found
            found = Undecodable("too_slow", f"it takes longer than {self._seconds:g} s to decode")
        except (EOFError, OSError, ValueError, KeyError):
            found = Undecodable("unreadable", "the decoder did not survive it")
        worker.stop()
        self._workers.put(None)
        return found

    def close(self) -> None:
        """End all workers."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        for _ in range(self._count):
            with suppress(OSError):
                if (worker := self._workers.get()) is not None:
                    worker.stop()
