"""Batches read ahead by worker processes, in the order of the plan."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from imgret.errors import ImgretError, InputError
from imgret.ids import escape
from imgret.images.files import ImageFile
from imgret.tables import look_up
from imgret.training.batches import AUGMENTATIONS
from imgret.training.batches.plans import Batch
from imgret.training.batches.samples import SampleMaker, Skipped, TrainBatch, Work, window_numbers

Made = Generator[TrainBatch | Skipped, None, None]

_AHEAD = 2  # batches that each worker may have ready before they are asked for


def load(
    images: Sequence[ImageFile],
    labels: np.ndarray,
    batches: Iterable[Batch],
    augment: str,
    *,
    workers: int,
    seed: int = 0,
    heat_maps: Path | None = None,
    views: int = 1,
    windows: int = 0,
    turn: int = 0,
    plain: Callable[[np.ndarray, np.ndarray], bool] | None = None,
    say: Callable[[str], object] | None = None,
    note: Callable[[int, str], object] | None = None,
) -> Iterator[TrainBatch]:
    """The pixels of every batch, in order; the same for any number of workers, bit for bit.

    `labels` is int64 [N], a row an image. `workers` processes make a batch each, at most two ahead; 0 makes them here.
    `seed` is mixed into the seeds of the batches. `heat_maps` is a folder of grey images named by image id
    (`a/b.jpg.png`), each seen through the same window as its image; not every image needs one. `views=2` gives
    every image twice, augmented independently. With `windows`, an image is seen through one of so many fixed windows,
    the next one at each `turn`, and `plain` says whether a batch of these rows [V B] and windows [V B] must bring
    its pixels before light and backdrop.

    An image that cannot be decoded is listed in `failed`, and the next good image of its batch stands in, so shapes
    never change. A batch without any good image is left out, which `say` is told, and `note` (row, reason) of each of
    its images; `number` shows the gap.
    Workers end with the iterator: exhaust it, `close()` it or let it go. InputError when there is no folder
    `heat_maps`, UnknownNameError for an unknown augmentation, ImgretError when a worker dies.
    """
    look_up(AUGMENTATIONS, "augmentation", augment)
    if labels.shape != (len(images),):
        raise ValueError(f"labels must be [{len(images)}], one an image, got {list(labels.shape)}")
    if workers < 0 or views < 1 or seed < 0:
        raise ValueError(f"workers and seed must not be negative, views at least 1, got {workers}, {seed}, {views}")
    if heat_maps is not None and not heat_maps.is_dir():
        raise InputError(f"there is no folder {heat_maps} of heat maps; leave it out to train without them")
    maker = SampleMaker(augment, seed, views, None if heat_maps is None else str(heat_maps), windows, turn)
    asks = None if plain is None else partial(_asks, plain, maker)
    work = _work(images, np.asarray(labels, np.int64), batches, asks)
    made = (maker.make(each) for each in work) if workers == 0 else _in_workers(maker, work, workers)
    return _told(made, images, say, note)


def _asks(plain: Callable[[np.ndarray, np.ndarray], bool], maker: SampleMaker, batch: Batch) -> bool:
    windows = window_numbers(maker.turn, len(batch.rows), maker.views, maker.windows)
    return plain(np.tile(batch.rows, maker.views), windows)


def _work(
    images: Sequence[ImageFile],
    labels: np.ndarray,
    batches: Iterable[Batch],
    asks: Callable[[Batch], bool] | None = None,
) -> Iterator[Work]:
    """What each batch needs and nothing more: a worker never holds the list of a million images."""
    for number, batch in enumerate(batches):
        rows = batch.rows if batch.whole is None else batch.whole
        wanted = asks is not None and asks(batch)
        yield Work(number, batch, [images[row] for row in rows], labels[rows], wanted)


def _told(
    made: Made,
    images: Sequence[ImageFile],
    say: Callable[[str], object] | None,
    note: Callable[[int, str], object] | None,
) -> Iterator[TrainBatch]:
    """Batches without the skipped ones, which are told of."""
    try:
        for batch in made:
            if not isinstance(batch, Skipped):
                yield batch
                continue
            if say is not None:
                row, why = batch.failed[0]
                first = f"{escape(images[row].id)}: {why}"
                say(f"batch {batch.number + 1} is skipped: none of its images can be decoded ({first})")
            if note is not None:
                for row, why in batch.failed:
                    note(row, why)
    finally:
        made.close()


def _in_workers(maker: SampleMaker, work: Iterator[Work], workers: int) -> Made:
    loader = _loader(maker, work, workers)
    iterator: Any = None
    try:
        with _no_advice():
            iterator = iter(loader)
        yield from iterator
    except (RuntimeError, ConnectionError, EOFError) as error:
        # torch notices a death in between batches; within one, the connection breaks. All else has its own place.
        torn = not isinstance(error, RuntimeError) or str(error).startswith("DataLoader worker")
        if not torn or "in DataLoader worker process" in str(error):
            raise
        raise ImgretError(
            "a process that loads images has died; when shared memory is short (a container), give it more "
            "(docker run --shm-size 4g) or ask for fewer workers, else look for a file that crashes its decoder "
            "with: imgret extract"
        ) from error
    finally:
        del iterator  # its workers end when it does, and not whenever a traceback lets go of this frame


def _loader(maker: SampleMaker, work: Iterator[Work], workers: int) -> DataLoader[Any]:
    methods = multiprocessing.get_all_start_methods()
    # Fork copies torch's threads and CUDA in a state they do not survive; spawn imports torch for every worker of
    # every epoch. A fork server imports it once, in a clean process, and forks from there in milliseconds.
    method = "forkserver" if "forkserver" in methods else "spawn"
    context = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload(["imgret.training.batches.samples"])
    with _no_advice():
        return DataLoader(
            _Maker(maker),
            batch_size=None,
            sampler=_Once(work),
            num_workers=workers,
            prefetch_factor=_AHEAD,
            multiprocessing_context=context,
            worker_init_fn=_start_worker,
            generator=torch.Generator(),  # else the loader would draw a number from torch's own generator
        )


@contextmanager
def _no_advice() -> Iterator[None]:
    """More workers than cores, or than threads under torchrun, is the caller's choice: right where a disk is slow."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        yield


class _Maker(Dataset[Any]):
    """A data set whose "indices" are the work itself."""

    def __init__(self, maker: SampleMaker) -> None:
        self._maker = maker

    def __getitem__(self, work: Work) -> TrainBatch | Skipped:
        return self._maker.make(work)


class _Once:
    """A sampler that hands out the work, lazily and once."""

    def __init__(self, work: Iterator[Work]) -> None:
        self._work = work

    def __iter__(self) -> Iterator[Work]:
        return self._work


def _start_worker(worker: int) -> None:  # noqa: ARG001
    """Ctrl-C is the main process's affair; it ends the workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """torch's workers watch over the process that forked them: the fork server, which waits for them in turn."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
