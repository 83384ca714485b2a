"""Decode many images in worker processes, results in the order asked for, memory bounded by a window."""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import get_context, parent_process

from imgret.errors import ImgretError
from imgret.images.decode import Decoded, DecodeRule, Undecodable, decode
from imgret.images.files import ImageFile

Result = tuple[ImageFile, "Decoded | Undecodable"]
_FEW = 4  # up to this many images a worker would take longer to start than to decode


def decode_stream(images: Iterable[ImageFile], rule: DecodeRule, *, workers: int, window: int = 64) -> Iterator[Result]:
    """(image, pixels or why not) for every image, in order.

    `workers` processes decode ahead of the reader, at most `window` images; 0 decodes in this process.
    A file that kills its worker (a crash inside a codec) is reported as unreadable, the rest goes on.
    """
    pending = deque(_first(iterator := iter(images), _FEW + 1))
    if workers < 1 or len(pending) <= _FEW:
        for image in (*pending, *iterator):
            yield image, decode(image, rule)
        return
    pool = _Pool(workers, rule)
    try:
        futures = deque((image, pool.submit(image)) for image in (*pending, *_first(iterator, window)))
        while futures:
            image, future = futures.popleft()
            yield image, pool.result(image, future)
            futures.extend((following, pool.submit(following)) for following in _first(iterator, 1))
    finally:
        pool.close()


def _first(iterator: Iterator[ImageFile], count: int) -> list[ImageFile]:
    return list(islice(iterator, count))


class _Pool:
    """A process pool that outlives its workers."""

    def __init__(self, workers: int, rule: DecodeRule) -> None:
        self._workers = workers
        self._rule = rule
        self._pool = _start(workers)
        self._alone: ProcessPoolExecutor | None = None

    def submit(self, image: ImageFile) -> Future[Decoded | Undecodable]:
        try:
            return self._pool.submit(decode, image, self._rule)
        except BrokenProcessPool:
            self._pool.shutdown(wait=True)
            self._pool = _start(self._workers)
            return self._pool.submit(decode, image, self._rule)

    def result(self, image: ImageFile, future: Future[Decoded | Undecodable]) -> Decoded | Undecodable:
        try:
            return future.result()
        except BrokenProcessPool:
            pass  # this image or one of its neighbours ended the worker; decoded alone, it shows which
        self._alone = self._alone or _start(1)
        try:
            return self._alone.submit(decode, image, self._rule).result()
        except BrokenProcessPool:
            self._alone.shutdown(wait=True)
            self._alone = None
            return Undecodable("unreadable", "decoding it ended the worker process (a crash, or out of memory)")

    def close(self) -> None:
        for pool in (self._pool, self._alone):
            if pool is not None:
                pool.shutdown(wait=True, cancel_futures=True)


def _start(workers: int) -> ProcessPoolExecutor:
    # spawn on every system: fork is unsafe beside torch's threads, and Windows has nothing else
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _prepare_worker)
    try:
        pool.submit(os.getpid).result()
    except BrokenProcessPool:
        raise ImgretError(
            "the decode workers cannot start; a script that calls imgret needs its code under "
            "`if __name__ == '__main__':`, or pass workers=0 (--workers 0)"
        ) from None
    return pool


def _prepare_worker() -> None:
    """Ctrl-C is the main process's affair, and the model goes before decoding ahead."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if hasattr(os, "nice"):
        os.nice(19)


def _end_with_parent() -> None:
    """A worker whose main process was killed would wait for work for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
