"""The Ray engine's schedule without Ray: workers, stragglers, deaths, and the one driver that commits. Run by hand:

    python tests/benchmarks/simulate_schedule.py [--seconds-an-image 0.03] [--driver-ms 0.75] [--deaths-an-hour 0.1] ...

Chunks of images go out in order. A worker has `ahead` of them, computes one after the other, and gets another when the
driver has taken a result in. The driver takes results one at a time, in the order they come. A worker that dies loses
its chunks, which go out again before new ones, and its replacement begins some time later. A worker stands for what
decodes and describes one image at a time; that these are two kinds of process is not modelled, nor is a network.
Nothing is measured: the times are the arguments.
"""

from __future__ import annotations

import argparse
import heapq
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass
class Outcome:
    """Seconds until the last result is in, from which second on a worker had nothing to do, the driver's busy seconds,
    and how often a chunk was begun that was lost."""

    makespan: float
    first_idle: float
    driver: float
    lost: int


class Schedule:
    """Workers that are `slowness` [W] times as slow as they should be, and a driver that needs `driver` s a chunk.

    lifetime   how long a worker that begins now will live, in seconds; for ever where it is None
    back       seconds until a dead worker is replaced
    ahead      chunks that a worker has at most, those included whose result the driver has not taken in yet
    """

    def __init__(
        self,
        slowness: Sequence[float],
        driver: float = 0.0,
        lifetime: Callable[[], float] | None = None,
        back: float = 60.0,
        ahead: int = 2,
    ) -> None:
        self.slowness = slowness
        self.cost = driver
        self.lifetime = lifetime or (lambda: math.inf)
        self.back = back
        self.ahead = ahead

    def run(self, seconds: Sequence[float]) -> Outcome:
        """Do chunks that take so many seconds [N] on a worker as it should be."""
        workers = range(len(self.slowness))
        waiting = [deque[int]() for _ in workers]
        computing: list[int | None] = [None for _ in workers]
        dies = [self.lifetime() for _ in workers]
        down = [False for _ in workers]
        hungry: deque[int] = deque()
        again: deque[int] = deque()
        events: list[tuple[float, int, str, int]] = []
        fresh, left, order, lost = 0, len(seconds), 0, 0
        free, busy, first_idle = 0.0, 0.0, math.inf

        def at(time: float, what: str, worker: int) -> None:
            nonlocal order
            order += 1  # what comes at one time comes in the order of its cause
            heapq.heappush(events, (time, order, what, worker))

        def hand_out(now: float, worker: int) -> None:
            nonlocal fresh
            if down[worker]:
                return
            if again:
                waiting[worker].append(again.popleft())
            elif fresh < len(seconds):
                waiting[worker].append(fresh)
                fresh += 1
            else:
                hungry.append(worker)
            begin(now, worker)

        def begin(now: float, worker: int) -> None:
            nonlocal first_idle
            if computing[worker] is not None:
                return
            if not waiting[worker]:
                if fresh == len(seconds):
                    first_idle = min(first_idle, now)
                return
            chunk = computing[worker] = waiting[worker].popleft()
            done = now + seconds[chunk] * self.slowness[worker]
            dead = dies[worker] < done
            at(max(now, dies[worker]) if dead else done, "died" if dead else "done", worker)

        for _ in range(self.ahead):
            for worker in workers:
                hand_out(0.0, worker)
        while left:
            now, _, what, worker = heapq.heappop(events)
            if what == "done":
                computing[worker] = None
                free = max(free, now) + self.cost
                busy += self.cost
                at(free, "taken in", worker)
                begin(now, worker)
            elif what == "taken in":
                left -= 1
                hand_out(now, worker)
            elif what == "died":
                lost += 1
                again.extend([chunk for chunk in (computing[worker], *waiting[worker]) if chunk is not None])
                computing[worker], down[worker] = None, True
                waiting[worker].clear()
                at(now + self.back, "back", worker)
                asking = [other for other in hungry if not down[other]]
                hungry.clear()
                for other in asking:
                    hand_out(now, other)
            else:
                down[worker], dies[worker] = False, now + self.lifetime()
                for _ in range(self.ahead):
                    hand_out(now, worker)
        return Outcome(now, min(first_idle, now), busy, lost)


def efficiency(outcome: Outcome, seconds: Sequence[float], slowness: Sequence[float]) -> float:
    """What the same workers would need if none ever waited or died, as a share of what was needed."""
    return float(sum(seconds) / sum(1 / slow for slow in slowness) / outcome.makespan)


def chunk_seconds(images: int, chunk: int, mean: float, spread: float, rng: np.random.Generator) -> np.ndarray:
    """Seconds of each chunk [N]; of an image log-normal, of that mean, and `spread` the deviation of the logarithm."""
    each = rng.lognormal(math.log(mean) - spread**2 / 2, spread, images)
    return np.add.reduceat(each, np.arange(0, images, chunk))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[10, 50, 100, 1000])
    parser.add_argument("--chunks", type=int, nargs="+", default=[16, 64, 256, 1024], help="images a chunk")
    parser.add_argument("--images", type=int, default=20_000, help="for each worker")
    parser.add_argument("--seconds-an-image", type=float, default=0.030)
    parser.add_argument("--spread", type=float, default=0.5, help="deviation of the logarithm of an image's time")
    parser.add_argument("--slow", type=float, default=0.02, help="share of slow workers")
    parser.add_argument("--slow-factor", type=float, default=4.0)
    parser.add_argument("--deaths-an-hour", type=float, default=0.1, help="of one worker")
    parser.add_argument("--back", type=float, default=120.0, help="seconds until a dead worker is replaced")
    parser.add_argument("--driver-ms", type=float, default=0.75, help="an image")
    parser.add_argument("--driver-chunk-ms", type=float, default=1.0, help="a chunk, beside its images")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    print("| workers | images a chunk | efficiency | images/s | tail, s | driver busy | chunks lost | driver full at |")
    print("|---|---|---|---|---|---|---|---|")
    for workers in asked.workers:
        for chunk in asked.chunks:
            rng = np.random.default_rng(asked.seed)
            slowness = np.ones(workers)
            slowness[: round(asked.slow * workers)] = asked.slow_factor
            images = asked.images * workers
            seconds = chunk_seconds(images, chunk, asked.seconds_an_image, asked.spread, rng).tolist()
            driver = (asked.driver_ms * chunk + asked.driver_chunk_ms) / 1000
            mean_life = 3600 / asked.deaths_an_hour if asked.deaths_an_hour else math.inf
            lifetime = (lambda r=rng, m=mean_life: r.exponential(m)) if asked.deaths_an_hour else None
            out = Schedule(slowness.tolist(), driver, lifetime, asked.back).run(seconds)
            full = asked.seconds_an_image * chunk / driver * workers / sum(1 / slowness)
            print(
                f"| {workers:,} | {chunk} | {efficiency(out, seconds, slowness):.3f} | {images / out.makespan:,.0f} | "
                f"{out.makespan - out.first_idle:.1f} | {100 * out.driver / out.makespan:.0f} % | {out.lost} | "
                f"{full:,.0f} workers |",
                flush=True,
            )


if __name__ == "__main__":
    main()
