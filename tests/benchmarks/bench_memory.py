"""Peak memory of an extraction of 1,000 and of 100,000 images: it must not grow with their number. Run by hand, Linux:

    python tests/benchmarks/bench_memory.py --counts 1000 100000

The images are a few small files under many ids (a CSV list, or with --tar one archive), the model is the mean colour,
so that almost all memory is ours. What must not grow is memory of the processes' own (RssAnon and RssShmem, looked up
ten times a second); the whole peak (VmHWM) is printed too, and differs by 100 MiB between equal runs, for it counts the
pages of torch's libraries that happen to be in memory.
"""

from __future__ import annotations

import argparse
import io
import platform
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

FILES = 8
SHARE, MARGIN = 0.10, 24.0  # the larger run may take this much more: a share, and MiB (its shards are full ones)
ROOT = Path(__file__).resolve().parents[2]

_CHILD = """
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[5])


def main():
    from imgret import workflows
    from imgret.extraction.job import ExtractJob
    from imgret.models import MODELS
    from tests.toy import MEAN_COLOUR

    MODELS["mean-colour"] = MEAN_COLOUR
    source, tar = Path(sys.argv[1]), sys.argv[3] == "tar"
    job = ExtractJob(
        images=(str(source),) if tar else (), list_file=None if tar else source, root=source.parent,
        output=Path(sys.argv[2]), model="mean-colour", weights="none", workers=int(sys.argv[4]), precision="fp32",
        image_size=64, device="cpu",
    )
    report = workflows.extract(job)
    assert report.total == report.found, report
    report = workflows.extract(job)  # again: everything is known, nothing is done
    assert report.kept == report.found, report


if __name__ == "__main__":
    main()
"""


def make_list(folder: Path, count: int) -> Path:
    """A CSV that names a few pictures by `count` ids."""
    for number in range(FILES):
        (folder / f"{number}.jpg").write_bytes(picture(number))
    lines = (f"{number % FILES}.jpg,folder-{number // 1000:05d}/image-{number:09d}.jpg" for number in range(count))
    (folder / "list.csv").write_text("path,id\n" + "\n".join(lines) + "\n")
    return folder / "list.csv"


def make_tar(folder: Path, count: int) -> Path:
    """An archive of `count` pictures."""
    pictures = [picture(number) for number in range(FILES)]
    with tarfile.open(folder / "images.tar", "w") as archive:
        for number in range(count):
            member = tarfile.TarInfo(f"folder-{number // 1000:05d}/image-{number:09d}.jpg")
            member.size = len(pictures[number % FILES])
            archive.addfile(member, io.BytesIO(pictures[number % FILES]))
    return folder / "images.tar"


def picture(number: int) -> bytes:
    """A small JPEG in a colour of its own."""
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (64, 48), (30 * number, 255 - 30 * number, 90)).save(file, "JPEG")
    return file.getvalue()


def memory(pid: int) -> tuple[float, float]:
    """MiB a process has of its own now, and MiB it ever had in memory; 0 when it is no more."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0, 0.0
    sizes = {name: int(rest.split()[0]) / 1024 for name, rest in (line.split(":") for line in lines if "kB" in line)}
    return sizes.get("RssAnon", 0.0) + sizes.get("RssShmem", 0.0), sizes.get("VmHWM", 0.0)


def children(pid: int) -> list[int]:
    """The processes that a process started."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(one) for task in tasks for one in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def measured(source: Path, store: Path, workers: int) -> tuple[list[float], list[float], float]:
    """([own, whole] MiB of the main process, of the largest worker, seconds) of two extractions in a new process."""
    script = store.parent / "child.py"
    script.write_text(_CHILD)
    kind = "tar" if source.suffix == ".tar" else "list"
    start = time.perf_counter()
    command = [sys.executable, str(script), str(source), str(store), kind, str(workers), str(ROOT)]
    peaks: dict[int, list[float]] = {}
    with subprocess.Popen(command) as child:
        while child.poll() is None:
            for pid in (child.pid, *children(child.pid)):
                both = zip(peaks.get(pid, [0.0, 0.0]), memory(pid), strict=True)
                peaks[pid] = [max(before, now) for before, now in both]
            time.sleep(0.1)
    if child.returncode:
        raise SystemExit("the extraction failed")
    main_peak = peaks.pop(child.pid)
    return main_peak, max(peaks.values(), default=[0.0, 0.0]), time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs=2, default=[1000, 100_000])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--tar", action="store_true")
    arguments = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {arguments.workers} workers")
    totals = []
    for count in arguments.counts:
        with tempfile.TemporaryDirectory() as place:
            source = (make_tar if arguments.tar else make_list)(Path(place), count)
            main_peak, worker_peak, seconds = measured(source, Path(place) / "store", arguments.workers)
        own, whole = (main_peak[one] + arguments.workers * worker_peak[one] for one in (0, 1))
        totals.append(own)
        print(
            f"{count:>9,} images: main process {main_peak[0]:6.0f} MiB, worker {worker_peak[0]:6.0f} MiB, "
            f"together {own:6.0f} MiB (with files {whole:6.0f}), {seconds:5.0f} s",
            flush=True,
        )
    print(f"ratio {totals[1] / totals[0]:.3f}")
    assert totals[1] <= totals[0] * (1 + SHARE) + MARGIN, "memory grows with the number of images"


if __name__ == "__main__":
    main()
