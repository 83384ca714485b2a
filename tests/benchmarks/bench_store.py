"""Opening a store of ten million ids, and what the plain way costs: a dict of them. Run by hand:

    python tests/benchmarks/bench_store.py --count 10000000

The store is written to a temporary folder first (dimension 8, shards of 8,192, one gigabyte for ten million).
Each line is measured in a process of its own: seconds, and the memory that came on top of the imports.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROWS = 8192
_WAYS = {
    "open and count": "store = Store.open(path); print(store.count)",
    "open to write": "with StoreWriter(Store.open(path)) as writer: print(len(writer.known))",
    "find 1,000,000 of them": """
with StoreWriter(Store.open(path)) as writer:
    start = time.perf_counter()
    for shard in range(0, len(writer.store.shards), max(1, len(writer.store.shards) // 122)):
        writer.known.find([b"folder/%07d/image-%09d.jpg" % (shard, shard * 8192 + row) for row in range(8192)])
""",
    "rewrite the manifest": """
with StoreWriter(Store.open(path)) as writer:
    start = time.perf_counter(); writer.save()
""",
    "iterate over all ids": "print(sum(1 for _ in Store.open(path).ids()))",
    "plain: a dict of all ids": "known = {raw: row for row, raw in enumerate(Store.open(path).ids())}",
    "plain: a dict, with facts": """
known = {}
store = Store.open(path)
for number in range(len(store.shards)):
    shard = store.read_shard(number)
    facts = zip(shard.bytes.tolist(), shard.mtime_ns.tolist(), shard.root.tolist(), shard.sha256)
    for row, (raw, (size, at, root, sha256)) in enumerate(zip(shard.ids, facts)):
        known[raw] = number, row, size, at, root, sha256.tobytes()
""",
}
_CHILD = """
import json, resource, sys, time
from pathlib import Path
from imgret.store.store import Store
from imgret.store.writer import StoreWriter
path = Path(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.perf_counter()
{code}
took = time.perf_counter() - start
print(json.dumps([took, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024]))
"""


def write_store(path: Path, count: int) -> None:
    """A store of `count` images that were never there."""
    import numpy as np

    from imgret import atomic
    from imgret.store import shard as shards
    from imgret.store.shard import Shard
    from imgret.store.store import MANIFEST_FILE, STORE_FILE, Root, ShardEntry, Store, fingerprint_of

    path.mkdir()
    recipe = {"model": "none", "image_size": 512}
    store = Store(path, recipe, fingerprint_of(recipe), 8, [Root.of(path, path)], [])
    rng = np.random.default_rng(0)
    for number in range(-(-count // ROWS)):
        first = number * ROWS
        n = min(ROWS, count - first)
        ids = [b"folder/%07d/image-%09d.jpg" % (number, row) for row in range(first, first + n)]
        rows = rng.standard_normal((n, 8)).astype(np.float16)
        zeros = np.zeros(n, np.int64)
        sizes = np.arange(first, first + n)
        shard = Shard(ids, rows, zeros, zeros, sizes, sizes, zeros, np.zeros((n, 32), np.uint8))
        name = f"shard-{number:05d}.h5"
        store.shards.append(ShardEntry(name, n, *shards.write(path / name, shard, store.fingerprint)))
    atomic.write_json(path / STORE_FILE, store.about())
    atomic.write_json(path / MANIFEST_FILE, store.manifest())


def measured(code: str, path: Path) -> tuple[float, float]:
    """(seconds, MiB) of some lines of Python in a new process."""
    command = [sys.executable, "-c", _CHILD.format(code=code.strip()), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, memory = json.loads(done.stdout.splitlines()[-1])
    return seconds, memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where the store is made [the system's temporary folder]")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as place:
        path = Path(place) / "store"
        start = time.perf_counter()
        write_store(path, arguments.count)
        print(
            f"{platform.processor() or platform.machine()}; {arguments.count:,} ids, "
            f"written in {time.perf_counter() - start:.0f} s"
        )
        found = {name: min(measured(code, path) for _ in range(arguments.rounds)) for name, code in _WAYS.items()}
        plain = found["plain: a dict, with facts"][0]
        for name, (seconds, memory) in found.items():
            print(f"{name:<28}{seconds:9.2f} s{memory:10.0f} MiB{seconds / plain:8.3f} of the plain way")
    if arguments.count >= 10_000_000:
        assert found["open and count"][0] < 2


if __name__ == "__main__":
    main()
