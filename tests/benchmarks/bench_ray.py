"""What Ray costs on one machine beside the local engine, and how it scales where decoding is slow. Run by hand:

    PYTHONPATH=. python -m tests.benchmarks.bench_ray overhead --photos FOLDER [--count 2000]
    PYTHONPATH=. python -m tests.benchmarks.bench_ray scaling
    PYTHONPATH=. python -m tests.benchmarks.bench_ray data --photos FOLDER [--count 2000]    (pip install 'ray[data]')

overhead: the same photographs by both engines with two decode workers, in turns; beyond start-up, which is told apart.
scaling: drawn pictures whose decoding sleeps a tenth of a second, by 1 to 8 workers, 8 pretended processors.
data: our tasks and actors beside Ray Data, which decodes and describes by `map_batches`; after the first result.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

import imgret
import imgret.engines.cluster as clusters
from imgret import workflows
from imgret.engines import remote
from imgret.extraction.extract import ExtractReport
from imgret.extraction.job import ExtractJob
from imgret.images import files
from imgret.images.decode import DecodeRule
from imgret.store import Store
from tests.engines import workers
from tests.pictures import save

WORKERS = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["overhead", "scaling", "data"])
    parser.add_argument("--photos", type=Path, help="a folder of photographs, for overhead")
    parser.add_argument("--count", type=int, default=2000, help="photographs, or pictures for each worker / 20")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        {"overhead": overhead, "scaling": scaling, "data": data}[arguments.what](Path(folder), arguments)


def job_for(folder: Path, arguments: argparse.Namespace) -> ExtractJob:
    photos = islice(sorted(arguments.photos.rglob("*.jpg")), arguments.count)
    listed = folder / "list.txt"
    listed.write_text("".join(f"{path.resolve()}\n" for path in photos))
    job = ExtractJob((), folder / "local", list_file=listed, root=Path("/"), precision="fp32", workers=WORKERS)
    return replace(job, compile=False)


def overhead(folder: Path, arguments: argparse.Namespace) -> None:
    local = job_for(folder, arguments)
    times: dict[str, list[float]] = {"local": [], "ray": []}
    starts: dict[str, list[float]] = {"local": [], "ray": []}
    for number in range(arguments.rounds):
        for engine in times:
            job = replace(local, output=folder / f"{engine}-{number}", engine=engine)
            begun = time.perf_counter()
            mine = time.process_time()
            report = workflows.extract(replace(job, ray_address="local" if engine == "ray" else None))
            mine = 1000 * (time.process_time() - mine) / report.added
            steady = report.seconds - report.clock.starting
            times[engine].append(steady)
            starts[engine].append(time.perf_counter() - begun - steady)
            start = starts[engine][-1]
            print(f"  {engine}: {report.added} photographs, {steady:.1f} s and {start:.1f} s of start,", end=" ")
            print(f"{mine:.2f} ms of this process an image", flush=True)
    ours, theirs = (statistics.median(times[engine]) for engine in ("ray", "local"))
    print(f"ray / local {ours / theirs:.3f}; start-up {statistics.median(starts['ray']):.1f} s and", end=" ")
    print(f"{statistics.median(starts['local']):.1f} s; rows {compared(folder / 'local-0', folder / 'ray-0')}")


def compared(one: Path, other: Path) -> str:
    """Whether two stores hold the same rows, to the last bit or how nearly."""
    a, b = (
        {key: row for block in Store.open(p).blocks() for key, row in zip(block.ids, block.descriptors, strict=True)}
        for p in (one, other)
    )
    if a.keys() != b.keys():
        return "of other ids"
    lowest = min(float(a[key] @ b[key]) for key in a)
    equal = sum(bool((a[key] == b[key]).all()) for key in a)
    return f"equal to the last bit: {equal} of {len(a)}, lowest cosine {lowest:.7f}"


def scaling(folder: Path, arguments: argparse.Namespace) -> None:
    remote.Model, remote.decode_some = workers.ToyModel, workers.decode_slowly  # type: ignore[misc]
    each = arguments.count // 20
    for number in range(8 * each):
        save(folder / "pictures", f"{number:04d}.png", number)
    job = ExtractJob((str(folder / "pictures"),), folder / "store", model="mean-colour", weights="none", engine="ray")
    job = replace(job, image_size=64, precision="fp32", device="cpu")
    first = 0.0
    print("| workers | images | seconds | images/s | of linear |\n|---|---|---|---|---|")
    with clusters.connected("local", 8):
        run(job, folder / "warm", 8)
        for count in (1, 2, 4, 8):
            part = replace(
                job, images=tuple(str(path) for path in sorted((folder / "pictures").iterdir())[: count * each])
            )
            report = run(part, folder / f"store-{count}", count)
            rate = report.added / report.seconds
            first = first or rate
            print(
                f"| {count} | {report.added} | {report.seconds:.1f} | {rate:.1f} | {rate / first / count:.2f} |",
                flush=True,
            )


def data(folder: Path, arguments: argparse.Namespace) -> None:
    job = job_for(folder, arguments)
    with clusters.connected("local", WORKERS) as cluster:
        for number in range(arguments.rounds):
            report = workflows.extract(replace(job, output=folder / f"ours-{number}", engine="ray"))
            ours = report.seconds - report.clock.starting
            theirs = by_ray_data(cluster.ray, job)
            print(f"  tasks and actors {ours:.1f} s, Ray Data {theirs:.1f} s, ratio {ours / theirs:.2f}", flush=True)


def by_ray_data(ray: Any, job: ExtractJob) -> float:
    """Seconds for all images, reckoned from those after the first result."""
    import ray.data

    images = list(files.find((), list_file=job.list_file, root=job.root).images)
    rule = DecodeRule(320)

    def decoded(batch: dict[str, np.ndarray]) -> dict[str, Any]:
        _, *pixels = remote.decode_some([images[number] for number in batch["id"]], rule, imgret.__version__)
        return {"id": batch["id"], "pixels": pixels}

    class Describe:
        def __init__(self) -> None:
            self.model = remote.Model(job, None, {}, None, WORKERS, imgret.__version__)

        def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
            groups: dict[tuple[int, ...], list[int]] = {}
            for place, pixels in enumerate(batch["pixels"]):
                groups.setdefault(pixels.shape, []).append(place)
            rows = np.zeros((len(batch["id"]), 512), np.float32)
            for places in groups.values():
                for start in range(0, len(places), 10):
                    some = places[start : start + 10]
                    rows[some] = self.model.describe(*(batch["pixels"][place] for place in some))
            return {"id": batch["id"], "rows": rows}

    ray.data.DataContext.get_current().enable_progress_bars = False
    found = ray.data.range(len(images), override_num_blocks=len(images) // 64)
    found = found.map_batches(decoded, batch_size=16, num_cpus=1)
    found = found.map_batches(Describe, batch_size=40, concurrency=1, num_cpus=0)
    first = count = 0
    began = time.perf_counter()
    for batch in found.iter_batches(batch_size=None):
        if not first:
            first, began = len(batch["id"]), time.perf_counter()
        count += len(batch["id"])
    assert count == len(images)
    return (time.perf_counter() - began) / (count - first) * count


def run(job: ExtractJob, output: Path, count: int) -> ExtractReport:
    return workflows.extract(replace(job, output=output, workers=count))


if __name__ == "__main__":
    main()
