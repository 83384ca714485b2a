"""Merge the stores of parts into one: seconds and memory, and what a row takes on the disk. Run by hand:

    python tests/benchmarks/bench_merge.py --count 1000000

Random half-precision rows of 512, ids as long as those of a photo library, in 4 parts of shards of 8,192, in a
temporary folder: 2.4 GB for 1,000,000. Each way runs in a process of its own; its memory is what came on top of the
imports, without the pages of mapped shards, which the system takes back. Copying the same files is timed beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROWS = 8192
PARTS = 4
_CHILD = """
import json, sys, threading, time
from pathlib import Path
from imgret.store.merge import merge
from imgret.store.store import Store

def own():
    return int(Path("/proc/self/status").read_text().split("RssAnon:")[1].split()[0]) / 1024

most = before = own()
over = threading.Event()
def sample():
    global most
    while not over.wait(0.02):
        most = max(most, own())
sampler = threading.Thread(target=sample)
sampler.start()
start = time.perf_counter()
merge([Store.open(Path(path)) for path in sys.argv[3:]], Path(sys.argv[1]), repack=int(sys.argv[2]) or None)
took = time.perf_counter() - start
over.set()
sampler.join()
print(json.dumps([took, most - before]))
"""


def write_part(path: Path, first: int, count: int, dim: int) -> None:
    """A store of `count` images that were never there."""
    from imgret import atomic
    from imgret.store import shard as shards
    from imgret.store.shard import Shard
    from imgret.store.store import MANIFEST_FILE, STORE_FILE, Root, ShardEntry, Store, fingerprint_of

    path.mkdir()
    recipe = {"model": "none", "image_size": 512}
    store = Store(path, recipe, fingerprint_of(recipe), dim, [Root.of(path, path)], [])
    rng = np.random.default_rng(first)
    for start in range(first, first + count, ROWS):
        n = min(ROWS, first + count - start)
        ids = [b"library/%05d/image-%010d.jpg" % (row // 1000, row) for row in range(start, start + n)]
        zeros, hashes = np.zeros(n, np.int64), rng.integers(0, 256, (n, 32), np.uint8)
        rows = rng.standard_normal((n, dim), np.float32).astype(np.float16)
        shard = Shard(ids, rows, zeros, zeros, zeros, zeros, zeros, hashes)
        name = f"shard-{len(store.shards):05d}.h5"
        store.shards.append(ShardEntry(name, n, *shards.write(path / name, shard, store.fingerprint)))
    atomic.write_json(path / STORE_FILE, store.about())
    atomic.write_json(path / MANIFEST_FILE, store.manifest())


def merged(output: Path, repack: int, parts: list[Path]) -> tuple[float, float]:
    """(seconds, MiB) of a merge in a process of its own."""
    command = [sys.executable, "-c", _CHILD, str(output), str(repack), *map(str, parts)]
    seconds, memory = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    shutil.rmtree(output)
    return seconds, memory


def copied(output: Path, parts: list[Path]) -> float:
    """Seconds to copy the files and have them on the disk."""
    start = time.perf_counter()
    for part in parts:
        shutil.copytree(part, output / part.name)
    os.sync()
    took = time.perf_counter() - start
    shutil.rmtree(output)
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--folder", type=Path, help="where the stores are made [the system's temporary folder]")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as place:
        parts = [Path(place) / f"part-{number}" for number in range(1, PARTS + 1)]
        each = asked.count // PARTS
        for number, part in enumerate(parts):
            write_part(part, number * each, each, asked.dim)
        size = sum(file.stat().st_size for part in parts for file in part.iterdir()) / (each * PARTS)
        print(
            f"{each * PARTS:,} x {asked.dim} in {PARTS} stores: {size:.1f} bytes a row, {2 * asked.dim} of them numbers"
        )
        print("| | seconds | memory |")
        print("|---|---|---|")
        for what, repack in (("merge", 0), ("merge --repack", ROWS)):
            seconds, memory = merged(Path(place) / "store", repack, parts)
            print(f"| {what} | {seconds:.1f} | {memory:.0f} MiB |", flush=True)
        print(f"| copy the files | {copied(Path(place) / 'copy', parts):.1f} | |")


if __name__ == "__main__":
    main()
