"""`extract`: from images to a store, on this machine or on a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgret.extraction.job import Say, quiet

if TYPE_CHECKING:
    from imgret.extraction.extract import ExtractReport, Progress
    from imgret.extraction.job import ExtractJob


def extract(job: ExtractJob, *, progress: Progress | None = None, say: Say = quiet) -> ExtractReport:
    """Bring a store up to date with the images of a job."""
    from imgret.extraction.extract import run

    if job.engine == "local" or job.dry_run:
        return run(job, progress=progress, say=say)
    from imgret.engines.cluster import connected
    from imgret.engines.extracting import RayEngine
    from imgret.extraction.threads import cores

    with connected(job.ray_address, job.workers or cores()) as cluster:
        return run(job, engine=RayEngine(cluster), progress=progress, say=say)
