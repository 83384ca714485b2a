"""Build an index of clustered vectors within a budget, beside plain FAISS adding the same vectors.

Run by hand: python tests/benchmarks/bench_build.py --count 5000000 --max-memory 2GB --folder SOMEWHERE
The store takes 2 bytes x count x dim there (5 GB for 5,000,000 x 512), and the index as much again. Each side runs in a
process of its own; the one that builds samples its own anonymous memory, which is what no file stands behind. Plain
FAISS loads the trained, still empty index of the same factory, and adds the same blocks, ready in memory; only
`add` is timed. Ours is the time of the phase "adding vectors", with reading, converting and writing. CPU seconds are
those of all threads, and say more where others use the machine.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from imgret.indexes.build import build
from imgret.indexes.files import Index, file_names, load_faiss
from imgret.indexes.kinds import parse_memory
from imgret.indexes.rows import gather
from imgret.store.store import Store, unit
from tests.benchmarks.bench_search import write_store


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=5_000_000, help="vectors")
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--kind", default="auto", help="auto lets the planner choose")
    parser.add_argument("--max-memory", default="2GB")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="for the temporary files")
    parser.add_argument("--side", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        side, folder = arguments.side
        print(json.dumps(ours(Path(folder), arguments) if side == "imgret" else theirs(Path(folder))))
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        run(Path(folder), arguments)


def run(folder: Path, arguments: argparse.Namespace) -> None:
    rng = np.random.default_rng(arguments.seed)
    centres = rng.standard_normal((max(1, arguments.count // 200), arguments.dim), np.float32)
    begun = time.perf_counter()
    write_store(folder / "store", arguments.count, centres, rng)
    print(f"{arguments.count:,} x {arguments.dim} written in {time.perf_counter() - begun:.0f} s", flush=True)
    del centres
    built = in_a_process("imgret", folder)
    print(
        f"{built['kind']} [{built['factory']}]: {built['why']}\n"
        f"  whole build {built['total']:.0f} s, recall@10 {built['recall']:.3f}, parameters {built['parameters']}"
    )
    for what, (took, cpu, most) in built["phases"].items():
        print(f"  {what:20} {took:8.1f} s, {cpu:8.1f} CPU s, at most {most / 1e9:.2f} GB of anonymous memory")
    plain = in_a_process("faiss", folder)
    adding, cpu, _ = built["phases"]["adding vectors"]
    print(
        f"  adding {adding:.1f} s, FAISS directly {plain['add']:.1f} s, ratio {adding / plain['add']:.3f}; "
        f"CPU {cpu:.1f} s and {plain['cpu']:.1f} s, ratio {cpu / plain['cpu']:.3f}"
    )
    print(f"  peak of anonymous memory {max(most for *_, most in built['phases'].values()) / 1e9:.2f} GB")


def in_a_process(side: str, folder: Path) -> dict:
    command = [sys.executable, "-m", "tests.benchmarks.bench_build", *sys.argv[1:], "--side", side, str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def anonymous() -> int:
    """Bytes of memory of this process that no file stands behind."""
    return int(Path("/proc/self/status").read_text().split("RssAnon:")[1].split()[0]) * 1024


def ours(folder: Path, arguments: argparse.Namespace) -> dict:
    """Build, and tell seconds, CPU seconds and the most anonymous memory of every phase."""
    phases: dict[str, list[float]] = {}
    now = ["starting"]
    last = time.perf_counter(), time.process_time()

    def progress(what: str, done: int, total: int) -> None:
        account()
        now[0] = what

    def account() -> None:
        nonlocal last
        with lock:
            at = time.perf_counter(), time.process_time()
            phase = phases.setdefault(now[0], [0.0, 0.0, 0.0])
            phase[0] += at[0] - last[0]
            phase[1] += at[1] - last[1]
            phase[2] = max(phase[2], anonymous())
            last = at

    def sample() -> None:
        while not over.wait(0.05):
            account()

    lock, over = threading.Lock(), threading.Event()
    sampler = threading.Thread(target=sample)
    sampler.start()
    begun = time.perf_counter()
    try:
        report = build(
            [Store.open(folder / "store")],
            folder / "index",
            kind=arguments.kind,
            max_memory=parse_memory(arguments.max_memory),
            seed=arguments.seed,
            progress=progress,
        )
    finally:
        over.set()
        sampler.join()
    return {
        "kind": report.kind,
        "factory": report.factory,
        "why": report.why,
        "recall": report.recall["recall@10"],
        "parameters": report.parameters,
        "total": time.perf_counter() - begun,
        "phases": phases,
    }


def theirs(folder: Path) -> dict:
    """The same trained index, emptied, and the same rows added, by FAISS alone."""
    built = Index.open(folder / "index")
    index = load_faiss(folder / "index" / file_names(1)["faiss"])
    index.reset()
    rows = gather([Store.open(folder / "store")], verify=False)
    half, took, cpu = built.kept.dtype == np.float16, 0.0, 0.0
    for block in rows.read(np.arange(len(rows))):
        vectors = unit(block.astype(np.float16)) if half else block
        begun, busy = time.perf_counter(), time.process_time()
        index.add(vectors)
        took, cpu = took + time.perf_counter() - begun, cpu + time.process_time() - busy
    return {"add": took, "cpu": cpu}


if __name__ == "__main__":
    main()
