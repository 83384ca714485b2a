"""Decode many images in worker processes, results in the order asked for, memory bounded by a window."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from itertools import islice
from multiprocessing import get_context, parent_process
from typing import NamedTuple

import numpy as np

from imgret.allocator import keep_freed_memory
from imgret.errors import ImgretError
from imgret.images.decode import Decoded, DecodeRule, Undecodable, decode
from imgret.images.files import ImageFile
from imgret.images.slots import Slots, make_slots

Result = tuple[ImageFile, "Decoded | Undecodable"]
_FEW = 4  # up to this many images a worker would take longer to start than to decode
_NOTHING = np.zeros((0, 0, 3), np.uint8)


class _Answer(NamedTuple):
    """What a worker sends: the result, and the shape of its pixels where those are in the slot instead.

    `seconds` is the processor time it took.
    """

    result: Decoded | Undecodable
    seconds: float = 0.0
    shape: tuple[int, ...] | None = None


def _unheard(seconds: float) -> None:
    """Nobody wants to know."""


def decode_stream(
    images: Iterable[ImageFile],
    rule: DecodeRule,
    *,
    workers: int,
    window: int = 64,
    spent: Callable[[float], object] = _unheard,
) -> Iterator[Result]:
    """(image, pixels or why not) for every image, in order.

    `workers` processes decode ahead of the reader, at most `window` images; 0 decodes in this process.
    A file that kills its worker (a crash inside a codec) is reported as unreadable, the rest goes on.
    `spent` is told the processor time of each image, in seconds.
    """
    pending = deque(_first(iterator := iter(images), _FEW + 1))
    if workers < 1 or len(pending) <= _FEW:
        for image in (*pending, *iterator):
            started = time.thread_time()
            result = decode(image, rule)
            spent(time.thread_time() - started)
            yield image, result
        return
    pool = _Pool(workers, rule, window)
    try:
        for image in pending:
            pool.submit(image)
        while pool.waiting:
            for image in _first(iterator, window - pool.waiting):
                pool.submit(image)
            image, answer = pool.result()
            spent(answer.seconds)
            yield image, answer.result
    finally:
        pool.close()


def _first(iterator: Iterator[ImageFile], count: int) -> list[ImageFile]:
    return list(islice(iterator, max(count, 0)))


class _Pool:
    """A process pool that outlives its workers; results come in the order of the images."""

    def __init__(self, workers: int, rule: DecodeRule, window: int) -> None:
        self._workers = workers
        self._rule = rule
        count = max(window, _FEW + 1)
        self._slots = make_slots(count, rule.most_bytes)
        self._free = deque(range(count))
        self._futures: deque[tuple[ImageFile, int, Future[_Answer]]] = deque()
        self._pool = _pool(workers, self._slots)
        self._first = self._pool.submit(os.getpid)  # tells whether workers can start here at all
        self._alone: ProcessPoolExecutor | None = None

    @property
    def waiting(self) -> int:
        """Images whose results were not taken yet."""
        return len(self._futures)

    def submit(self, image: ImageFile) -> None:
        slot = self._free.popleft()
        try:
            future = self._pool.submit(_decode, image, self._rule, slot)
        except BrokenProcessPool:
            self._check_start()
            self._pool.shutdown(wait=True)
            self._pool = _pool(self._workers, self._slots)
            future = self._pool.submit(_decode, image, self._rule, slot)
        self._futures.append((image, slot, future))

    def result(self) -> tuple[ImageFile, _Answer]:
        """The answer for the image that waits longest, with its pixels."""
        image, slot, future = self._futures.popleft()
        try:
            answer = future.result()
        except BrokenProcessPool:  # this image or one of its neighbours ended the worker; decoded alone, it shows which
            answer = self._decoded_alone(image, slot)
        if answer.shape is not None:
            assert self._slots is not None
            assert isinstance(answer.result, Decoded)
            whole = replace(answer.result, pixels=self._slots.take(slot, answer.shape))
            answer = answer._replace(result=whole)
        self._free.append(slot)
        return image, answer

    def _check_start(self) -> None:
        if isinstance(self._first.exception(), BrokenProcessPool):
            raise ImgretError(
                "the decode workers cannot start; a script that calls imgret needs its code under "
                "`if __name__ == '__main__':`, or pass workers=0 (--workers 0)"
            )

    def _decoded_alone(self, image: ImageFile, slot: int) -> _Answer:
        self._check_start()
        self._alone = self._alone or _pool(1, self._slots)
        try:
            return self._alone.submit(_decode, image, self._rule, slot).result()
        except BrokenProcessPool:
            self._alone.shutdown(wait=True)
            self._alone = None
            why = "decoding it ended the worker process (a crash, or out of memory)"
            return _Answer(Undecodable("unreadable", why))

    def close(self) -> None:
        for pool in (self._pool, self._alone):
            if pool is not None:
                pool.shutdown(wait=True, cancel_futures=True)
        if self._slots is not None:
            self._slots.close()


def _pool(workers: int, slots: Slots | None) -> ProcessPoolExecutor:
    # spawn on every system: fork is unsafe beside torch's threads, and Windows has nothing else
    return ProcessPoolExecutor(workers, get_context("spawn"), prepare_worker, (slots,))


_slots: Slots | None = None  # of a worker process


def prepare_worker(slots: Slots | None = None) -> None:
    """Ctrl-C is the main process's affair, and the model goes before decoding ahead."""
    global _slots
    _slots = slots
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_freed_memory()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if hasattr(os, "nice"):
        os.nice(19)


def _decode(image: ImageFile, rule: DecodeRule, slot: int) -> _Answer:
    """In a worker: decode an image and leave its pixels in the slot, where they fit."""
    started = time.process_time()
    result = decode(image, rule)
    seconds = time.process_time() - started
    if isinstance(result, Decoded) and _slots is not None and _slots.put(slot, result.pixels):
        return _Answer(replace(result, pixels=_NOTHING), seconds, result.pixels.shape)
    return _Answer(result, seconds)


def _end_with_parent() -> None:
    """A worker whose main process was killed would wait for work for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
