"""What 1 million, 100 million and 10 billion images cost, reckoned from measured unit costs. Run by hand:

    python tests/benchmarks/scale_table.py [--set NAME=VALUE ...] [--gpu-photos-a-second X]

Each unit cost stands in COSTS with its source, a section of docs/benchmarks.md; --list shows them, --set puts in your
own. No GPU was ever measured: its rows appear only where you say what yours does (`imgret bench photos/` tells).
Everything is taken to grow in proportion, which is what the costs were measured to do up to 1 to 10 million rows.
docs/scale.md holds the table, and says what stands in the way of it.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from typing import NamedTuple

SIZES = (1_000_000, 100_000_000, 10_000_000_000)
DAY = 86_400


class Cost(NamedTuple):
    value: float
    unit: str
    source: str


COSTS = {
    "glam_small": Cost(0.0332, "core s a photo", "Extraction: 12 MP at 320 px, 16.6 ms on 2 cores, float32"),
    "glam_small_1mp": Cost(0.0230, "core s a photo", "Extraction: 1 MP at 320 px, 11.5 ms on 2 cores, float32"),
    "resnet50": Cost(0.520, "core s a photo", "Extraction: gem, 12 MP at 512 px, 260.0 ms on 2 cores, float32"),
    "decode": Cost(0.0164, "core s a photo", "Extraction: decoding 12 MP for 320 px, one core"),
    "driver": Cost(
        0.0008,
        "s a photo",
        "The schedule, simulated: 0.76 to 0.88 ms of a processor",
    ),
    "list": Cost(10.9e-6, "s an image", "Finding images: a folder on a local disk"),
    "store": Cost(1125, "bytes a row", "Merging: 1,024 of 512 numbers, 101 of facts with ids of 33 bytes"),
    "shard": Cost(8192, "rows a shard", "the default of --shard-size"),
    "open": Cost(0.83e-6, "s a row", "A store of ten million: open to write"),
    "open_memory": Cost(77, "bytes a row", "A store of ten million: open to write"),
    "merge": Cost(8.5e-6, "s a row", "Merging"),
    "merge_memory": Cost(62, "bytes a row", "Merging: from 400,000 to 1,000,000 rows"),
    "build_fixed": Cost(73, "s", "Building: ivfpq, trying kinds and training, 2 cores"),
    "build": Cost(50e-6, "s a row", "Building: ivfpq, reading ids, adding, measuring recall, 2 cores"),
    "codes": Cost(72, "bytes a row", "One query: ivfpq, 64 + 8, beside 13 MB of lists and rotation at most"),
    "beside": Cost(1077, "bytes a row", "One query: 1,024 of vectors in half precision, 41 of ids of 33 bytes, 12"),
    "flat": Cost(2048, "bytes a row", "Large collections: flat of 512, 4D"),
    "flat_query": Cost(163e-9, "s a row", "One query: 163 ms over 1,000,000 rows, 2 cores"),
    "codes_query_fixed": Cost(0.8e-3, "s", "One query: ivfpq, 250,000 rows, one list visited"),
    "codes_query": Cost(1.7e-9, "s a row", "One query: ivfpq, 1,000,000 rows, 512 of 2,048 lists visited, 2 cores"),
    "tail": Cost(0.05, "of the rows", "Large collections: the largest tail before a new base is written"),
    "tail_query": Cost(12e-9, "s a row", "Adding: 0.12 ms more for a tail of 10,000, a query of many"),
    "cores": Cost(16, "cores a machine", "yours"),
    "memory": Cost(64e9, "bytes a machine", "yours"),
    "deadline": Cost(DAY, "s", "yours: by when all are described"),
}


def machines_and_time(core_seconds: float, cost: Mapping[str, float]) -> str:
    """As few machines as keep the deadline, and how long they take."""
    machines = max(1, math.ceil(core_seconds / cost["cores"] / cost["deadline"]))
    return f"{machines:,} x {duration(core_seconds / cost['cores'] / machines)}"


def memory_of(size: float, cost: Mapping[str, float]) -> str:
    """A size, marked where it is more than a machine has."""
    return f"**{amount(size)}**" if size > cost["memory"] else amount(size)


def rows(n: int, cost: Mapping[str, float], gpu: float | None) -> dict[str, str]:
    """What `n` images cost, by the words of the table."""
    found = {
        "describing, glam-small: machines x time": machines_and_time(n * cost["glam_small"], cost),
        "describing, glam-small, photographs of 1 MP": machines_and_time(n * cost["glam_small_1mp"], cost),
        "describing, ResNet-50 at 512 px: machines x time": machines_and_time(n * cost["resnet50"], cost),
    }
    if gpu:
        gpus = max(1, math.ceil(n / gpu / cost["deadline"]))
        found["describing on GPUs: GPUs x time"] = f"{gpus:,} x {duration(n / gpu / gpus)}"
        found["cores that decode for each of them"] = f"{math.ceil(gpu * cost['decode']):,}"
    codes = n * cost["codes"]
    holders = math.ceil(codes / cost["memory"])
    return found | {
        "drivers that commit within the deadline": f"{math.ceil(n * cost['driver'] / cost['deadline']):,}",
        "listing all, in each part": duration(n * cost["list"]),
        "store": amount(n * cost["store"]),
        "shards": f"{math.ceil(n / cost['shard']):,}",
        "adding to it: time until it is open": duration(n * cost["open"]),
        "adding to it: memory": memory_of(n * cost["open_memory"], cost),
        "merging parts: time": duration(n * cost["merge"]),
        "merging parts: memory": memory_of(n * cost["merge_memory"], cost),
        "index ivfpq, built on 2 cores": duration(cost["build_fixed"] + n * cost["build"]),
        "index ivfpq: files": amount(n * (cost["codes"] + cost["beside"])),
        "index ivfpq: memory": memory_of(codes, cost),
        "machines that hold it": f"{holders:,}",
        "one query, ivfpq, those machines at once": duration(
            cost["codes_query_fixed"] + n / holders * cost["codes_query"]
        ),
        "the largest tail adds, on one machine": duration(n * cost["tail"] * cost["tail_query"]),
        "index flat: memory": memory_of(n * cost["flat"], cost),
        "one query, flat, one machine": duration(n * cost["flat_query"]),
    }


def duration(seconds: float) -> str:
    """Two digits in the unit that suits."""
    for unit, size in (("days", DAY), ("h", 3600), ("min", 60), ("s", 1)):
        if seconds >= 1.5 * size or (unit == "s" and seconds >= 1):
            return f"{_two_digits(seconds / size)} {unit}"
    return f"{_two_digits(1000 * seconds)} ms"


def amount(size: float) -> str:
    """Two digits in the unit that suits, of thousands."""
    for unit, scale in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9)):
        if size >= scale:
            return f"{_two_digits(size / scale)} {unit}"
    return f"{_two_digits(size / 1e6)} MB"


def _two_digits(number: float) -> str:
    return f"{number:,.1f}" if number < 9.95 else f"{round(number, 1 - math.floor(math.log10(number))):,.0f}"


def table(cost: Mapping[str, float], gpu: float | None = None) -> str:
    """The table of docs/scale.md."""
    columns = [rows(n, cost, gpu) for n in SIZES]
    lines = ["| | 1 million | 100 million | 10 billion |", "|---|---|---|---|"]
    lines += [f"| {what} | {' | '.join(column[what] for column in columns)} |" for what in columns[0]]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="your own unit costs")
    parser.add_argument("--gpu-photos-a-second", type=float, help="of one GPU, model alone")
    parser.add_argument("--list", action="store_true", help="the unit costs and where they come from")
    asked = parser.parse_args()
    cost = {name: one.value for name, one in COSTS.items()}
    for text in asked.set:
        name, _, value = text.partition("=")
        if name not in COSTS:
            parser.error(f"{name!r} is none of {', '.join(COSTS)}")
        cost[name] = float(value)
    if asked.list:
        for name, one in COSTS.items():
            print(f"{name:16} {cost[name]:>10.4g} {one.unit:18} {one.source}")
    else:
        print(table(cost, asked.gpu_photos_a_second))


if __name__ == "__main__":
    main()
