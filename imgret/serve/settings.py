"""Settings: what a server allows, in numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """The limits of a server and what it was told.

    token            asked of everyone where given
    hosts            names it answers to beside addresses and localhost
    most_bytes       of an upload
    most_pixels      of an uploaded or indexed picture, width x height
    most_results     of a search
    decode_seconds   a picture may take to decode
    body_seconds     a client may take to send a request
    answer_seconds   a question may wait for its answer
    most_waiting     questions that wait at a time; more are told to come again
    cache            folder of thumbnails and of the map; None keeps nothing on disk
    cache_bytes      thumbnails take at most
    decisions        the file that remembers what was said of near-duplicates; None: nothing is noted
    """

    token: str | None = None
    hosts: tuple[str, ...] = ()
    most_bytes: int = 32 << 20
    most_pixels: int = 100_000_000
    most_results: int = 500
    decode_seconds: float = 10.0
    body_seconds: float = 30.0
    answer_seconds: float = 60.0
    most_waiting: int = 128
    cache: Path | None = None
    cache_bytes: int = 512 << 20
    decisions: Path | None = None
