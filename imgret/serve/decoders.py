"""Decoders: worker processes that decode what strangers send, each job within a time limit."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection
from queue import SimpleQueue

from imgret.images.decode import Undecodable
from imgret.serve.decode_worker import Job, Picture, most_bytes, read_answer, serve_jobs
from imgret.serve.problems import Problem

_START = 60.0  # seconds a new worker may take to begin


class _Worker:
    """One process and the pipe to it. It is `spent` when it took too long or was not understood."""

    def __init__(self) -> None:
        # spawn on every system: fork is unsafe beside torch's threads
        context = get_context("spawn")
        self.connection: Connection
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=serve_jobs, args=(theirs,), name="imgret-decoder", daemon=True)
        self.spent = False
        try:
            with _deaf():
                self._process.start()
        except BaseException:
            self.connection.close()
            raise
        finally:
            theirs.close()

    def begin(self) -> None:
        """Wait until it takes jobs: that is no part of their time. OSError or EOFError where it never will."""
        if not self.connection.poll(_START):
            raise OSError("a decoder did not begin")
        self.connection.recv_bytes(0)

    def ask(self, job: Job, seconds: float) -> Picture | Undecodable:
        """What became of a job. It is killed after so many seconds, wherever it, or its answer, stands then."""
        found: Picture | Undecodable
        begun = time.monotonic()
        limit = threading.Timer(seconds, self.kill)
        limit.start()
        try:
            self.connection.send(job)
            found = read_answer(self.connection, most_bytes(job.rule))
        except Exception:  # it was killed, or it was taken over and says anything
            self.spent, found = True, Undecodable("unreadable", "the decoder did not survive it")
        finally:
            limit.cancel()
            limit.join()
        if time.monotonic() - begun >= seconds:
            self.spent, found = True, Undecodable("too_slow", f"it takes longer than {seconds:g} s to decode")
        return found

    def kill(self) -> None:
        self._process.kill()

    def stop(self) -> None:
        self.connection.close()
        self._process.kill()
        self._process.join()


class Decoders:
    """`count` worker processes, begun when they are needed. A job that takes longer than `seconds` ends its worker.

    At most `most_waiting` wait at a time, none longer than `wait_seconds`.
    """

    def __init__(self, count: int, seconds: float, most_waiting: int = 256, wait_seconds: float = 60.0) -> None:
        self._seconds = seconds
        self._most_waiting = most_waiting
        self._wait_seconds = wait_seconds
        self._threads = ThreadPoolExecutor(count, "imgret-decoding")
        self._workers: set[_Worker] = set()
        self._idle: SimpleQueue[_Worker | None] = SimpleQueue()  # None: one that is yet to be begun
        for _ in range(count):
            self._idle.put(None)
        self._closed = False
        self.waiting = 0

    async def __call__(self, job: Job) -> Picture | Undecodable:
        """Decode; Problem "busy" when too many wait already. The job goes on where the asker does not."""
        if self.waiting >= self._most_waiting:
            raise Problem(503, "busy", "too many pictures wait to be decoded; ask again in a moment")
        self.waiting += 1
        try:
            found = asyncio.get_running_loop().run_in_executor(self._threads, self.run, job)
            return await asyncio.wait_for(found, self._wait_seconds)
        except asyncio.TimeoutError:
            raise Problem(503, "busy", f"not decoded within {self._wait_seconds:g} s; ask again in a moment") from None
        finally:
            self.waiting -= 1

    def run(self, job: Job) -> Picture | Undecodable:
        """Decode in a worker, and wait for it; Problem "busy" where no process can be begun."""
        worker = self._idle.get()
        try:
            worker = worker or self._begin()
            return worker.ask(job, self._seconds)
        finally:
            if worker is not None and worker.spent:
                self._end(worker)
                worker = None
            self._idle.put(worker)

    def close(self) -> None:
        """End all workers, also in the middle of a job."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in list(self._workers):
            worker.kill()
        self._threads.shutdown()
        for worker in list(self._workers):
            self._end(worker)

    def _begin(self) -> _Worker:
        worker = None
        try:
            worker = _Worker()
            self._workers.add(worker)
            if self._closed:
                raise OSError("the decoders are closed")
            worker.begin()
        except (OSError, EOFError) as error:
            if worker is not None:
                self._end(worker)
            message = "no process to decode in can be begun; ask again in a moment"
            raise Problem(503, "busy", message) from error
        return worker

    def _end(self, worker: _Worker) -> None:
        self._workers.discard(worker)
        worker.stop()


@contextmanager
def _deaf() -> Iterator[None]:
    """A process begun meanwhile hears no Ctrl-C, not even before its first line: the server ends its workers."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # or it would be begun with the first process, and undo this
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
