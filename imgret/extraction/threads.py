"""Threads: how many of the cores the model uses while the workers decode."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from imgret.extraction.contest import Contest

_MARGIN = 0.87  # fewer threads must promise this much, as what they promise is reckoned, not measured


def cores() -> int:
    """Cores this process may use; a container's share of them is rounded up."""
    affinity = getattr(os, "sched_getaffinity", None)
    count = len(affinity(0)) if affinity else os.cpu_count() or 1
    return min(count, _share())


def _share(root: Path = Path("/sys/fs/cgroup")) -> int:
    """Cores that a container is held to, by either version of cgroups; many where there is no limit."""
    with suppress(OSError, ValueError):  # no container, or "max"
        quota, period = map(int, (root / "cpu.max").read_text().split())
        return max(1, -(-quota // period))
    with suppress(OSError, ValueError):
        quota, period = (int((root / "cpu" / name).read_text()) for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us"))
        if quota > 0:  # -1 is no limit
            return max(1, -(-quota // period))
    return sys.maxsize


class ThreadSplit:
    """All cores for the model, or half of them, whichever lets more images through; a context that ends as it began.

    The workers decode at low priority on whatever the model leaves. With t threads the model takes m(t) seconds an
    image, and all c cores together have d + t m(t) to do, where d is the time to decode one: an image takes

        max(m(t), (d + t m(t)) / c)

    seconds. A model that gains little from more threads (small images, many cores) does better with fewer where
    decoding wants them. d and both m are measured on the first batches.
    """

    def __init__(self, enough: bool) -> None:
        self._cores = cores()
        self._decode = 0.0
        self._tried = False
        settings = [1]
        if enough:
            import torch  # only where it was loaded long ago

            most = torch.get_num_threads()
            settings = [most, most // 2] if most > 1 else [most]
        self._most = settings[0]
        self._contest = Contest(settings, margin=_MARGIN, cost=self._seconds_an_image)

    def __enter__(self) -> ThreadSplit:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._tried:
            _set(self._most)

    @property
    def settled(self) -> bool:
        return self._contest.winner is not None

    def described(self, seconds: float, images: int, decode: float) -> None:
        """Tell how long a batch took on the threads it was given, and the processor time to decode an image so far."""
        self._decode = decode
        self._tried = True
        self._contest.note(seconds / images)
        _set(self._contest.current)

    def _seconds_an_image(self, threads: int, model: float) -> float:
        return max(model, (self._decode + threads * model) / self._cores)


def _set(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
