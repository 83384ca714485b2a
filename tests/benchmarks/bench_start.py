"""Time from typing `imgret search INDEX QSTORE` to its first result, beside the interpreter and what must be imported.

Run by hand: python tests/benchmarks/bench_start.py --count 1000000
The query's descriptor is stored, so no model loads. Every command is a fresh process; they take turns, and the files
have been read before. The vectors are those of bench_search.py, in a temporary folder (--folder says where; a million
vectors of 512 dimensions take 8 GB there).
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from bench_search import write_store

from imgret.indexes.build import build

IMPORTS = "numpy, faiss, h5py"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1_000_000, help="vectors")
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--kinds", nargs="+", default=["flat", "ivf"])
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="for the temporary files")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        run(Path(folder), arguments)


def run(folder: Path, arguments: argparse.Namespace) -> None:
    rng = np.random.default_rng(arguments.seed)
    centres = rng.standard_normal((max(1, arguments.count // 200), arguments.dim), np.float32)
    store = write_store(folder / "store", arguments.count, centres, rng)
    write_store(folder / "query", 1, centres, rng)
    python = [sys.executable, "-c"]
    commands = {
        "python -c pass": [*python, "pass"],
        f"import {IMPORTS}": [*python, f"import {IMPORTS}"],
        "import typer": [*python, "import typer"],
    }
    for kind in arguments.kinds:
        build([store], folder / kind, kind=kind, max_memory=1 << 50, verify=False)
        search = [sys.executable, "-m", "imgret", "search", str(folder / kind), str(folder / "query")]
        commands[f"imgret search, {kind}"] = [*search, "--format", "jsonl"]
    times = in_turns(commands, folder, arguments.repeats)
    print(f"{arguments.count:,} x {arguments.dim}, one stored query, medians of {arguments.repeats} runs, seconds")
    bare = times["python -c pass"]
    for name, taken in times.items():
        print(f"{name:28} {taken:.3f}   above the interpreter {taken - bare:.3f}")


def in_turns(commands: dict[str, list[str]], folder: Path, repeats: int) -> dict[str, float]:
    """Median wall time of each command; the first round, which compiles and warms the page cache, does not count."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(folder / "compiled")
    times: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(repeats + 1):
        for name, command in commands.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
            if turn:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(taken) for name, taken in times.items()}


if __name__ == "__main__":
    main()
