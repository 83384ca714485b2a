"""Index kinds: a light table, and the choice among them by count, dimension and memory."""

from __future__ import annotations

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
PQ_ROWS = 256  # a product quantizer has 256 centroids per part and needs a row for each


@dataclass(frozen=True)
class IndexKind:
    """A row of the table.

    pattern       FAISS factory string with {nlist} (inverted lists) and {m} (bytes of a PQ code)
    summary       one line for a listing
    memory        bytes per vector of dimension `dim`, as searched
    """

    pattern: str
    summary: str
    memory: Callable[[int], int]

    def factory(self, count: int, dim: int) -> str:
        """The FAISS factory string for `count` vectors of dimension `dim`."""
        return self.pattern.format(nlist=lists(count), m=code_size(dim))


INDEX_KINDS: dict[str, IndexKind] = {
    "flat": IndexKind("Flat", "exact; every vector is compared", lambda dim: 4 * dim),
    "hnsw": IndexKind(
        "HNSW32,Flat", "a graph; quickest to search, slow to build, most memory", lambda dim: 4 * dim + 280
    ),
    "ivf": IndexKind(
        "IVF{nlist},Flat",
        "lists around centroids; only the nearest lists are compared",
        lambda dim: 4 * dim + 8,
    ),
    # np: no polysemous training, which takes most of the time and serves a filter that is not used here
    "ivfpq": IndexKind(
        "IVF{nlist},PQ{m}np",
        "lists of short codes; scores from half-precision vectors on disk",
        lambda dim: code_size(dim) + 8,
    ),
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


def code_size(dim: int) -> int:
    """Bytes of a PQ code: the largest divisor of `dim` that is at most dim / 8 (8 at least) and 128."""
    most = min(max(dim // 8, 8), 128, dim)
    return next(m for m in range(most, 0, -1) if dim % m == 0)


def choose(count: int, dim: int, max_memory: int | None = None, kind: str = "auto") -> Choice:
    """Choose a kind for `count` vectors of dimension `dim` within `max_memory` bytes.

    The budget (half of the physical memory by default) is for the index as searched; the half-precision
    vectors that lossy kinds keep beside it are mapped from disk. Raises UnknownNameError for a kind that
    is not in the table, and IndexFileError, naming the nearest feasible budget, when nothing fits.
    """
    budget = physical_memory() // 2 if max_memory is None else max_memory
    shape = f"{count:,} x {dim}"
    if kind != "auto":
        row = look_up(INDEX_KINDS, "index kind", kind)
        if kind == "ivfpq" and count < PQ_ROWS:
            raise IndexFileError(f"ivfpq learns from {PQ_ROWS} vectors at least and there are {count}; use --kind flat")
        _fits(kind, row, count, dim, budget)
        return Choice(kind, row.factory(count, dim), ASKED)

    def fits(name: str) -> bool:
        return count * INDEX_KINDS[name].memory(dim) <= budget

    if count * dim <= QUICK and fits("flat"):
        name, why = "flat", f"exact search over {shape} is quick"
    elif fits("ivf") and count * dim > QUICK:
        name, why = "ivf", f"exact search over {shape} is slow, and the vectors fit in {spell(budget)}"
    elif count >= PQ_ROWS and fits("ivfpq"):
        name, why = "ivfpq", f"{shape} vectors do not fit in {spell(budget)}, their codes do"
    else:
        name, why = "ivfpq" if count >= PQ_ROWS else "flat", ""
        _fits(name, INDEX_KINDS[name], count, dim, budget)
    return Choice(name, INDEX_KINDS[name].factory(count, dim), why)


def _fits(name: str, row: IndexKind, count: int, dim: int, budget: int) -> None:
    need = count * row.memory(dim)
    if need > budget:
        nearest = f"{math.ceil(need / 1e6)}MB" if need > 10e6 else f"{math.ceil(need / 1e3)}kB"
        raise IndexFileError(
            f"{count:,} vectors of dimension {dim} as {name} need {spell(need)}, "
            f"the budget is {spell(budget)}. The nearest budget that works: "
            f"--kind {name} --max-memory {nearest}"
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


def spell(size: int) -> str:
    """Bytes for people: 1536000 -> '1.5 MB'."""
    value = float(size)
    for name in ("bytes", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.3g} {name}"
        value /= 1000
    return f"{value:,.1f} TB"


def physical_memory() -> int:
    """Bytes of memory this process may use: the machine's, or its container's where that is less."""
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        size = 8_000_000_000
    try:
        return min(size, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):  # no container, or "max"
        return size
