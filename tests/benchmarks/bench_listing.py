"""What listing a collection takes: seconds and memory for 10,000 and 1,000,000 images. Run by hand:

    python tests/benchmarks/bench_listing.py

Each row is a process of its own: the images are found and then gone through once, as extraction does. Memory is the
peak of resident memory above that of the process before, and of the objects that a list of ImageFiles would be, which
is what was held before. Files are hard links to one small file, 10,000 in a folder; archives hold members of one byte.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path

KINDS = ["folder", "list of paths", "CSV, one file by many ids", ".tar", ".zip"]
_A_FOLDER = 10_000


def name_of(number: int) -> str:
    return f"{number // _A_FOLDER:04d}/{number:08d}.jpg"


def prepare(place: Path, kind: str, count: int) -> Path:
    """Make a collection, unless it is there, and return its folder, list or archive."""
    if kind in ("folder", "list of paths"):
        folder = place / f"folder-{count}"
        if not folder.exists():
            (folder / "0000").mkdir(parents=True)
            seed = folder / name_of(0)
            seed.write_bytes(b"x")
            for number in range(1, count):
                target = folder / name_of(number)
                if number % _A_FOLDER == 0:
                    target.parent.mkdir()
                    seed = target
                    seed.write_bytes(b"x")
                    continue
                os.link(seed, target)  # a file system allows some ten thousand names of one file
        if kind == "folder":
            return folder
        listed = place / f"paths-{count}.txt"
        with open(listed, "w") as file:
            file.writelines(f"{folder}/{name_of(number)}\n" for number in range(count))
        return listed
    if kind == "CSV, one file by many ids":
        (place / "one.jpg").write_bytes(b"x")
        listed = place / f"ids-{count}.csv"
        with open(listed, "w") as file:
            file.write("path,id\n")
            file.writelines(f"{place}/one.jpg,{name_of(number)}\n" for number in range(count))
        return listed
    archive = place / f"set-{count}{kind}"
    if kind == ".zip":
        with zipfile.ZipFile(archive, "w") as writer:
            for number in range(count):
                writer.writestr(name_of(number), b"x")
    else:
        with tarfile.open(archive, "w") as writer:
            for number in range(count):
                member = tarfile.TarInfo(name_of(number))
                member.size = 1
                writer.addfile(member, io.BytesIO(b"x"))
    return archive


def peak_memory() -> int:
    """Kilobytes resident at most so far. Unlike ru_maxrss it does not begin with those of the parent process."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def measure(asked: Path) -> None:
    """In a process of its own: find, go through, and say what it took as JSON."""
    from imgret.images import files

    before = peak_memory()
    started = time.perf_counter()
    if asked.suffix in (".txt", ".csv"):
        listing = files.find([], list_file=asked)
    else:
        listing = files.find([str(asked)])
    found = time.perf_counter() - started
    started = time.perf_counter()
    total = sum(len(image.id) for image in listing.images)
    through = time.perf_counter() - started
    peak = peak_memory()
    objects = list(listing.images)
    held = peak_memory() - peak
    total += len(objects)
    print(json.dumps([found, through, (peak - before) / 1024, held / 1024, total]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[10_000, 1_000_000])
    parser.add_argument("--kinds", nargs="+", default=KINDS)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.measure)
        return
    python = f"Python {platform.python_version()}"
    print(f"{platform.machine()}, {os.cpu_count()} cores, {python}, {time.strftime('%Y-%m-%d')}\n")
    print("| collection | images | find, s | go through, s | peak memory, MB | as a list of objects, MB more |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        for kind in arguments.kinds:
            for count in arguments.counts:
                asked = prepare(Path(place), kind, count)
                command = [sys.executable, __file__, "--measure", str(asked)]
                out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                found, through, peak, held, _ = json.loads(out)
                print(f"| {kind} | {count:,} | {found:.2f} | {through:.2f} | {peak:,.0f} | {held:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
