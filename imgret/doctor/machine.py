"""The machine: Python, picture formats, processor, memory, the current folder, the clock. Standard library only."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from imgret.doctor import child
from imgret.doctor.finding import OK, WARNING, WRONG, Finding
from imgret.errors import StoreBusyError
from imgret.store.lock import WriterLock

OLDEST_PYTHON = (3, 10)
LITTLE_DISK = 1e9  # bytes
LITTLE_MEMORY = 2e9  # bytes; torch alone takes half a gigabyte
_RELEASED = datetime(2026, 11, 1, tzinfo=timezone.utc).timestamp()
_NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
_SKEW = 2.0  # seconds; FAT keeps times to two seconds

_TAKE_LOCK = """
import json
from pathlib import Path
from imgret.errors import StoreBusyError
from imgret.errors import StoreBusyError
from imgret.store.lock import WriterLock
try:
    with WriterLock(Path({folder!r})):
        print(json.dumps("taken"))
except StoreBusyError:
    print(json.dumps("refused"))
"""


def python() -> Finding:
    """The version of Python and its word size."""
    version = platform.python_version()
    if sys.version_info[:2] < OLDEST_PYTHON:
        wanted = ".".join(map(str, OLDEST_PYTHON))
        return Finding("Python", WRONG, f"{version} is older than {wanted}", f"python{wanted} -m venv venv")
    if sys.maxsize < 2**32:
        return Finding("Python", WRONG, f"{version} has 32 bits, and torch has no such build", "install 64-bit Python")
    return Finding("Python", OK, f"{version}, {platform.system()} on {platform.machine()}")


def codecs(versions: Mapping[str, str | None]) -> Finding:
    """What Pillow can read; `versions` has None for what its build lacks."""
    there = [f"{name} {version}" for name, version in versions.items() if version is not None]
    heif = child.run("import json, pillow_heif; print(json.dumps(pillow_heif.__version__))", 60).answer
    there += [f"heic {heif}"] if heif else []
    lacking = [name for name, version in versions.items() if version is None and name != "libjpeg_turbo"]
    again = "python -m pip install --force-reinstall pillow"
    figures = {**versions, "heic": heif}
    if {"jpg", "zlib"} & set(lacking):
        return Finding("picture formats", WRONG, f"Pillow was built without {', '.join(lacking)}", again, figures)
    if lacking:
        words = f"Pillow was built without {', '.join(lacking)}: such images are listed as unsupported"
        return Finding("picture formats", WARNING, words, again, figures)
    more = "" if heif else "; HEIC with: pip install 'imgret[heic]'"
    return Finding("picture formats", OK, ", ".join(there) + more, "", figures)


def accelerator(torch: Mapping[str, Any]) -> Finding:
    """What multiplies: GPU or processor, and whether in bf16; `torch` is what a child said of it."""
    figures = dict(torch)
    if torch["gpus"]:
        words = f"{', '.join(torch['gpus'])}; {'bf16' if torch['gpu_bf16'] else 'fp16, for it has no bf16'}"
        return Finding("accelerator", OK, words, "", figures)
    bf16 = {"avx512_bf16", "amx_bf16", "bf16"} & set(torch["capabilities"])
    words = f"no GPU; the processor ({torch['cpu']}) {'in bf16' if bf16 else 'in fp32, for it has no bf16'}"
    if _NVIDIA_DRIVER.exists():
        built = torch["built_for_cuda"]
        words += ", though an NVIDIA driver is here: "
        words += f"torch, built for CUDA {built}, cannot use it" if built else "this torch is built without CUDA"
        return Finding(
            "accelerator", WARNING, words, "python -m pip install --force-reinstall torch torchvision", figures
        )
    return Finding("accelerator", OK, words, "", figures)


def memory() -> Finding:
    """Cores this process may use and memory that is free, of the machine or of its container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    free = _free_memory()
    words = f"{cores} core{'' if cores == 1 else 's'}"
    figures = {"cores": cores, "free_bytes": free}
    if free is None:
        return Finding(
            "cores, memory", OK, f"{words}; how much memory is free is not known on this system", "", figures
        )
    words += f"; {free / 1e9:.1f} GB of memory free"
    if free < LITTLE_MEMORY:
        step = "close other programs, or use fewer decoders: imgret extract ... --workers 1"
        return Finding("cores, memory", WARNING, f"{words}, which is little", step, figures)
    return Finding("cores, memory", OK, words, "", figures)


def _free_memory() -> int | None:
    """Bytes, the smaller of what Linux has available and what the control group still allows; None if unknown."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return None
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text(encoding="utf-8"))
        return max(0, min(free, limit - int((group / "memory.current").read_text(encoding="utf-8"))))
    except (OSError, ValueError):  # no control group, or the limit is "max"
        return free


def folder(place: Path) -> list[Finding]:
    """Space, locks and clock, each tried in a folder of its own inside `place`, which is removed again."""
    shown = place.absolute()
    try:
        free = shutil.disk_usage(place).free
        with tempfile.TemporaryDirectory(prefix=".imgret-doctor-", dir=place) as made:
            return [disk(free, shown), locking(Path(made), shown), clock(Path(made))]
    except OSError as error:
        words = f"nothing can be written in {shown}: {error.strerror}"
        return [Finding("folder", WRONG, words, "go to a folder of your own: cd FOLDER && imgret doctor")]


def disk(free: int, shown: Path) -> Finding:
    """Room for descriptors of 512 numbers in half precision."""
    words = f"{free / 1e9:.1f} GB free in {shown}: room for {free / 1024 / 1e6:,.1f} million descriptors"
    figures = {"free_bytes": free}
    if free < LITTLE_DISK:
        return Finding(
            "disk", WARNING, words, "free some space, or write elsewhere: imgret extract ... -o DISK", figures
        )
    return Finding("disk", OK, words, "", figures)


def locking(place: Path, shown: Path) -> Finding:
    """Whether a second process is kept out of a store while a first one writes, and let in afterwards."""
    ask = _TAKE_LOCK.format(folder=str(place))
    step = "keep stores on a local disk, or let one process at a time write each store (--part I/N, one STORE a part)"
    try:
        with WriterLock(place):
            during = child.run(ask, 60)
    except StoreBusyError:  # nobody else can hold it: the system has no locks to give
        return Finding("file locks", WRONG, f"{shown} is on a file system that gives no locks", step)
    after = child.run(ask, 60)
    if during.answer == "refused" and after.answer == "taken":
        return Finding("file locks", OK, "a second writer is kept out, and let in afterwards")
    if during.answer == "taken":
        return Finding("file locks", WRONG, f"{shown} is on a file system without locks: two may write a store", step)
    if after.answer == "refused":
        return Finding("file locks", WRONG, f"{shown} is on a file system that does not give locks back", step)
    reason = during.reason or after.reason
    return Finding("file locks", WRONG, f"locks cannot be tried: {reason}", step, detail=during.detail or after.detail)


def clock(place: Path) -> Finding:
    """Whether the clock stands after imgret's release, and the folder's file system agrees with it.

    Changed images are noticed by their times, so a clock that jumps hides changes.
    """
    mark = place / "clock"
    mark.touch()
    now, written = time.time(), mark.stat().st_mtime
    today = datetime.fromtimestamp(now, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    if now < _RELEASED:
        return Finding("clock", WARNING, f"it says {today}, before this imgret was made", "set the clock")
    if abs(now - written) > _SKEW:
        words = f"it says {today}; the file system's differs by {abs(now - written):.0f} s"
        return Finding("clock", WARNING, words, "set the clock of the file server, or of this machine")
    return Finding("clock", OK, f"{today}; the file system agrees")
