"""What runs in a decode worker: one job after the other, from pixels of strangers to plain bytes. No torch here."""

from __future__ import annotations

import io
import json
import math
import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from PIL import EpsImagePlugin, Image

from imgret.images.decode import DecodeRule, Undecodable, decode
from imgret.images.image_file import ImageFile

QUALITY = 82
MOST_MEMORY = 2 << 30
"""Bytes of address space that a worker may take beyond what it begins with."""


@dataclass(frozen=True)
class Job:
    """An image to decode by a rule; `data` are its bytes where it is no file, `jpeg` asks for a JPEG, not pixels."""

    image: ImageFile
    rule: DecodeRule
    data: bytes | None = None
    jpeg: bool = False


@dataclass(frozen=True)
class Picture:
    """What became of a job.

    pixels         [H, W, 3] uint8 RGB, or the bytes of a JPEG
    width, height  of the upright image before any crop or resize
    bytes          of its file
    """

    pixels: np.ndarray | bytes
    width: int
    height: int
    bytes: int


def serve_jobs(connection: Connection) -> None:
    """Say that jobs are taken, and answer them until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends its workers
    _bound_memory()
    EpsImagePlugin.gs_binary = False  # no program is run on what a stranger sent
    with suppress(EOFError, OSError):
        connection.send_bytes(b"")
        while True:
            for part in _answer(connection.recv()):
                connection.send_bytes(part)
    os._exit(0)


def _bound_memory() -> None:
    """No picture makes a worker larger than this: what it needs beyond is told as too large. On Linux alone."""
    if sys.platform != "linux":
        return
    import resource

    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    most = now + MOST_MEMORY
    if hard == resource.RLIM_INFINITY or most < hard:
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))


def most_bytes(rule: DecodeRule) -> int:
    """That an answer may have: the pixels, or a JPEG of them, which is larger for a very small picture."""
    return 3 * math.ceil(rule.size * max(rule.slack, 1)) ** 2 + (1 << 16)


def read_answer(connection: Connection, most: int) -> Picture | Undecodable:
    """What a worker answers: JSON, then plain bytes, so that a worker that was taken over cannot send code.

    OSError when these are more than `most`; it may raise anything for what is no answer.
    """
    head: dict[str, Any] = json.loads(connection.recv_bytes(1 << 20))
    body = connection.recv_bytes(most)
    if "reason" in head:
        return Undecodable(str(head["reason"]), str(head["message"]))
    facts = int(head["width"]), int(head["height"]), int(head["bytes"])
    if head["shape"] is None:
        return Picture(body, *facts)
    height, width = head["shape"]
    pixels = np.frombuffer(bytearray(body), np.uint8)  # torch wants to be able to write
    return Picture(pixels.reshape(int(height), int(width), 3), *facts)


def _answer(job: Job) -> tuple[bytes, bytes]:
    found = decode(job.image, job.rule, job.data)
    if isinstance(found, Undecodable):
        return json.dumps({"reason": found.reason, "message": found.message}).encode(), b""
    shape: list[int] | None = list(found.pixels.shape[:2])
    body = found.pixels.tobytes()
    if job.jpeg:
        file = io.BytesIO()
        Image.fromarray(found.pixels).save(file, "JPEG", quality=QUALITY, optimize=True)
        body, shape = file.getvalue(), None
    facts = {"shape": shape, "width": found.width, "height": found.height, "bytes": found.bytes}
    return json.dumps(facts).encode(), body
