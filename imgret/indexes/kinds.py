"""Index kinds: a light table, and the choice among them by count, dimension and memory."""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from imgret.errors import IndexFileError
from imgret.tables import look_up

QUICK = 100_000_000  # numbers a query may be compared with in a few tens of milliseconds
ASKED = "asked for by name"
MAX_LISTS = 4096  # more lists need more training rows than the sample of 200,000 holds
ROWS_PER_LIST = 39  # fewer than this and k-means places its centroids by chance
PQ_ROWS = 256  # rows that a product quantizer needs to learn the centroids of each part
_NUMBER = 8  # bytes of a row's number in an inverted list
_GRAPH = 272  # bytes of a row's links: 64 neighbours of 4 bytes, its place and level, a few links higher up
_BLOCK = 32  # rows of a list that fast-scan keeps together; the last block of a list is half empty


@dataclass(frozen=True)
class IndexKind:
    """A row of the table.

    pattern  FAISS factory string with {nlist} (inverted lists), {m} (half-byte parts of a PQ code) and {dim}
    summary  one line for a listing
    code     bytes of a vector of dimension `dim`, by itself
    least    vectors that the kind needs to learn from
    exact    whether it finds the true neighbours whatever the parameters
    loaded   whether FAISS reads it into memory as it opens it, where all others are mapped from the file
    """

    pattern: str
    summary: str
    code: Callable[[int], int]
    least: int = 1
    exact: bool = False
    loaded: bool = False

    @property
    def graph(self) -> bool:
        """Whether it is a graph, which grows by rows alone: FAISS cannot put two of them together."""
        return self.pattern.startswith("HNSW")

    def factory(self, count: int, dim: int) -> str:
        """The FAISS factory string for `count` vectors of dimension `dim`."""
        return self.pattern.format(nlist=lists(count), m=parts(dim), dim=dim)

    def memory(self, count: int, dim: int) -> int:
        """Bytes of the index as searched: codes, links or row numbers, centroids of lists, a rotation.

        The half-precision vectors that candidates are scored from are mapped from disk and are not counted.
        """
        size = count * self.code(dim)
        if self.graph:
            size += count * _GRAPH
        if "{nlist}" in self.pattern:
            size += count * _NUMBER + lists(count) * 4 * dim
            if self.loaded:
                size += lists(count) * self.code(dim) * _BLOCK // 2
        if "RR" in self.pattern:
            size += 4 * dim * dim
        if "PQ" in self.pattern:
            size += 16 * 4 * dim  # the 16 centroids of every part
        return size


INDEX_KINDS: dict[str, IndexKind] = {
    "flat": IndexKind("Flat", "exact; every vector is compared", lambda dim: 4 * dim, exact=True),
    "fp16": IndexKind("SQfp16", "exact in half precision; every vector is compared", lambda dim: 2 * dim),
    "sq8": IndexKind("SQ8", "a byte a dimension; every vector is compared", lambda dim: dim),
    # Short codes follow a random rotation: they want dimensions that say equally much, and descriptors rarely have
    # such. Of 256 skewed dimensions rabitq found 0.67 of the neighbours among 128 candidates without, 0.99 with.
    "rabitq": IndexKind("RR{dim},RaBitQ", "a bit a dimension; every vector is compared", lambda dim: bits(dim)),
    "ivf": IndexKind(
        "IVF{nlist},Flat", "lists around centroids; only the nearest lists are compared", lambda dim: 4 * dim
    ),
    "ivfsq8": IndexKind("IVF{nlist},SQ8", "lists of a byte a dimension", lambda dim: dim),
    # Fast-scan: half-byte parts at equal bytes are trained in a third and searched in half of the time of byte parts.
    "ivfpq": IndexKind(
        "RR{dim},IVF{nlist},PQ{m}x4fs",
        "lists of short learnt codes, compared many at a time",
        lambda dim: (parts(dim) + 1) // 2,
        least=PQ_ROWS,
        loaded=True,
    ),
    "ivfrabitq": IndexKind("RR{dim},IVF{nlist},RaBitQ", "lists of a bit a dimension", lambda dim: bits(dim)),
    "hnsw": IndexKind("HNSW32,Flat", "a graph; quick to search, slow to build, most memory", lambda dim: 4 * dim),
    "hnswsq8": IndexKind("HNSW32,SQ8", "a graph over a byte a dimension; slow to build", lambda dim: dim),
}


@dataclass(frozen=True)
class Choice:
    """What will be built: a kind of the table (or "custom"), its FAISS factory string, and the reason."""

    kind: str
    factory: str
    why: str


def lists(count: int) -> int:
    """Inverted lists for `count` vectors: a power of two up to 4 sqrt(count), with enough rows in each."""
    wanted = min(4 * math.sqrt(count), count / ROWS_PER_LIST, MAX_LISTS)
    return 2 ** max(0, int(math.log2(max(wanted, 1))))


def parts(dim: int) -> int:
    """Parts of a PQ code, half a byte each: the largest divisor of `dim` up to dim / 4 (16 at least) and 256."""
    most = min(max(dim // 4, 16), 256, dim)
    return next(m for m in range(most, 0, -1) if dim % m == 0)


def coarse(kind: str, dim: int) -> bool:
    """Whether a kind's codes say too little, as where `dim` is prime and a PQ code has one part."""
    return "{m}" in INDEX_KINDS[kind].pattern and parts(dim) < dim / 16


def bits(dim: int) -> int:
    """Bytes of a RaBitQ code: a bit a dimension and two factors of 4 bytes."""
    return -(-dim // 8) + 8


def budget_of(max_memory: int | None) -> int:
    """Bytes that an index may take: half of the physical memory where nothing is said."""
    return physical_memory() // 2 if max_memory is None else max_memory


def choose(count: int, dim: int, max_memory: int | None = None, kind: str = "auto") -> Choice:
    """Choose a kind for `count` vectors of dimension `dim` within `max_memory` bytes, by rules alone.

    The planner chooses better where exact search is slow, by trying kinds on a sample of the vectors.
    The budget (half of the physical memory by default) is for the index as searched; the half-precision
    vectors that lossy kinds keep beside it are mapped from disk. Raises UnknownNameError for a kind that
    is not in the table, and IndexFileError, naming the nearest feasible budget, when nothing fits.
    """
    budget = budget_of(max_memory)
    shape = f"{count:,} x {dim}"
    if kind != "auto":
        row = look_up(INDEX_KINDS, "index kind", kind)
        if count < row.least:
            raise IndexFileError(
                f"{kind} learns from {row.least} vectors at least and there are {count}; use --kind flat"
            )
        if row.memory(count, dim) > budget:
            raise does_not_fit(kind, count, dim, budget)
        return Choice(kind, row.factory(count, dim), ASKED)
    if exact_is_quick(count, dim, budget):
        return Choice("flat", INDEX_KINDS["flat"].factory(count, dim), f"exact search over {shape} is quick")
    possible = fitting(count, dim, budget)
    order = _SMALL if count * dim <= QUICK else _LARGE
    name = next(name for name in (*order, *possible) if name in possible)
    if name == "ivf":
        why = f"exact search over {shape} is slow, and the vectors fit in {spell(budget)}"
    else:
        why = f"{shape} vectors do not fit in {spell(budget)}, their codes do"
    return Choice(name, INDEX_KINDS[name].factory(count, dim), why)


_SMALL = ("fp16", "sq8", "rabitq")
_LARGE = ("ivf", "ivfsq8", "ivfpq", "ivfrabitq")


def exact_is_quick(count: int, dim: int, budget: int) -> bool:
    """Whether a flat index fits and answers in a few tens of milliseconds, so that nothing need be tried."""
    return count * dim <= QUICK and INDEX_KINDS["flat"].memory(count, dim) <= budget


def fitting(count: int, dim: int, budget: int) -> list[str]:
    """The kinds that fit and can be learnt from `count` vectors, smallest first; IndexFileError where none does."""
    possible = [name for name, row in INDEX_KINDS.items() if count >= row.least and not coarse(name, dim)]
    possible.sort(key=lambda name: INDEX_KINDS[name].memory(count, dim))
    if INDEX_KINDS[possible[0]].memory(count, dim) > budget:
        raise does_not_fit(possible[0], count, dim, budget)
    return [name for name in possible if INDEX_KINDS[name].memory(count, dim) <= budget]


def does_not_fit(kind: str, count: int, dim: int, budget: int) -> IndexFileError:
    """The refusal of a budget, which names the nearest one that works for this kind."""
    need = INDEX_KINDS[kind].memory(count, dim)
    nearest = f"{math.ceil(need / 1e6)}MB" if need > 10e6 else f"{math.ceil(need / 1e3)}kB"
    return IndexFileError(
        f"{count:,} vectors of dimension {dim} as {kind} need {spell(need)}, "
        f"the budget is {spell(budget)}. The nearest budget that works: "
        f"--kind {kind} --max-memory {nearest}"
    )


def parse_memory(text: str) -> int:
    """'4GB', '512 MiB', '1.5g' or '1000000' -> bytes. GB is 10^9, GiB is 2^30; IndexFileError otherwise."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([kmgt]?)(i?)(b?)\s*", text, re.IGNORECASE)
    if match is None or (match[3] and not match[2]):
        raise IndexFileError(f"{text!r} is not an amount of memory; write it like 4GB, 512MB or 1.5GiB")
    power = " kmgt".index(match[2].lower() or " ")
    size = int(float(match[1]) * (1024 if match[3] else 1000) ** power)
    if size < 1:
        raise IndexFileError(f"{text!r} is no memory at all; write it like 4GB, 512MB or 1.5GiB")
    return size


def spell(size: float) -> str:
    """Bytes for people: 1536000 -> '1.5 MB'."""
    value = float(size)
    for name in ("bytes", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.3g} {name}"
        value /= 1000
    return f"{value:,.1f} TB"


def physical_memory() -> int:
    """Bytes of memory this process may use: the machine's, or less by its container or `ulimit`."""
    try:
        sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        sizes = [8_000_000_000]
    for limit in ("memory.max", "memory/memory.limit_in_bytes"):  # of a container, by either version of cgroups
        with contextlib.suppress(OSError, ValueError):  # no container, or "max"
            sizes.append(int(Path("/sys/fs/cgroup", limit).read_text()))
    with contextlib.suppress(ImportError):  # Windows
        import resource

        limits = [resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA)]
        sizes += [limit for limit in limits if limit != resource.RLIM_INFINITY]
    return min(sizes)
