"""Searching: from what was asked over HTTP to ranked images, the same for the page and the interface."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from starlette.concurrency import run_in_threadpool

from imgret.errors import InputError, UnknownNameError
from imgret.extraction.recipe import decode_rule
from imgret.images.decode import Undecodable
from imgret.images.image_file import Box, ImageFile
from imgret.rerank import Step, parse_chain
from imgret.serve.asking import Question
from imgret.serve.decode_worker import Job
from imgret.serve.problems import Problem
from imgret.serve.server import Server
from imgret.serve.uploads import Upload

MOST_STEPS = 3
"""Stages of re-ranking in a search: all searches wait for the one that is answered."""
MOST: dict[str, dict[str, int]] = {
    "aqe": {"k": 1000},
    "superglobal": {"m": 2000, "k": 100},
    "diffusion": {"m": 20_000, "kq": 100, "iterations": 100},
    "reciprocal": {"m": 1000, "k1": 100, "k2": 100},
}
"""Largest parameters of each stage."""


@dataclass(frozen=True)
class Wanted:
    """A search as it is asked for: by an indexed row or by a picture.

    box            x1, y1, x2, y2 in pixels of the upright picture: search with this part
    least          leave out lower scores
    rerank         a chain as in `imgret search --rerank`
    leave_out_own  without the row itself
    """

    row: int | None = None
    upload: Upload | None = None
    box: Box | None = None
    k: int = 20
    least: float | None = None
    rerank: str = ""
    leave_out_own: bool = False


@dataclass(frozen=True)
class Hit:
    """One image found, from rank 1."""

    rank: int
    row: int
    score: float


async def search(server: Server, wanted: Wanted) -> list[Hit]:
    """The best images, best first. Problem where there can be no answer."""
    steps = _steps(wanted.rerank)
    if not 1 <= wanted.k <= server.settings.most_results:
        raise Problem(422, "invalid", f"k must be from 1 to {server.settings.most_results}")
    vector, pixels = None, None
    if wanted.row is not None and wanted.box is None:
        vector = server.collection.vector(wanted.row)
    if vector is None:
        server.asker.describer  # noqa: B018  # before a picture is decoded for nothing
        pixels = await query_pixels(server, wanted)
    name = "query" if wanted.row is None else server.collection.ids[wanted.row]
    question = Question(name, pixels, vector, wanted.k + wanted.leave_out_own, steps)
    found = await server.asker.ask(question, server.settings.answer_seconds)
    rows = [(row, score) for row, score in found if not (wanted.leave_out_own and row == wanted.row)]
    kept = [(row, score) for row, score in rows if wanted.least is None or score >= wanted.least]
    return [Hit(rank, row, score) for rank, (row, score) in enumerate(kept[: wanted.k], 1)]


async def query_pixels(server: Server, wanted: Wanted) -> np.ndarray:
    """[H, W, 3] uint8 as the model is given them."""
    image, data = await run_in_threadpool(query_image, server, wanted)  # an archive is listed once
    crop = "full" if wanted.box is not None else "own"
    rule = decode_rule(server.collection.searched.recipe, max_megapixels=server.settings.most_pixels / 1e6, crop=crop)
    # a worker has no device to leave the last resize to
    found = await server.decoders(Job(image, replace(rule, device=False), data))
    if isinstance(found, Undecodable):
        server.metrics.refused(found.reason)
        raise unreadable(found)
    assert isinstance(found.pixels, np.ndarray)
    return found.pixels


def query_image(server: Server, wanted: Wanted) -> tuple[ImageFile, bytes | None]:
    """The image asked with, and its bytes where it is no file."""
    if wanted.row is not None:
        image = server.collection.file_of(wanted.row, wanted.box)
        if isinstance(image, str):
            raise Problem(422, "no_picture", f"this image cannot be looked at: {image}")
        return image, None
    if wanted.upload is None:
        raise Problem(422, "invalid", "a search wants an image or an id")
    return replace(wanted.upload.image, box=wanted.box), wanted.upload.data


def unreadable(why: Undecodable) -> Problem:
    """A picture that cannot be decoded, as an answer."""
    status = 413 if why.reason == "too_large" else 422
    message = why.message.replace("; raise it with --max-megapixels", "")
    return Problem(status, why.reason, f"the picture cannot be read: {message}")


def known_row(server: Server, printed: str) -> int:
    """The row of an id; Problem where the index has none such."""
    row = server.collection.row_of(printed)
    if row is None:
        raise Problem(404, "not_found", "no image of the index has this id")
    return row


def parse_box(text: str | None) -> Box | None:
    """'10,20,200,300' -> (10, 20, 200, 300); Problem for anything else."""
    if not text:
        return None
    try:
        if not text.isascii() or len(text) > 60:
            raise ValueError
        x1, y1, x2, y2 = (int(part) for part in text.split(","))
    except ValueError:
        x1 = y1 = x2 = y2 = 0
    if not (0 <= x1 < x2 < 2**31 and 0 <= y1 < y2 < 2**31):
        raise Problem(422, "invalid", "a box is x1,y1,x2,y2 in pixels, right and bottom exclusive")
    return x1, y1, x2, y2


def _steps(text: str) -> tuple[Step, ...]:
    try:
        steps = parse_chain(text)
    except (InputError, UnknownNameError) as error:
        raise Problem(422, "invalid", str(error)) from None
    if len(steps) > MOST_STEPS:
        raise Problem(422, "invalid", f"at most {MOST_STEPS} stages are taken here; imgret search --rerank takes any")
    for step in steps:
        for key, most in MOST.get(step.name, {}).items():
            if step.parameters[key] > most:
                raise Problem(
                    422,
                    "invalid",
                    f"{step.name}: {key} is at most {most} here, for others wait; imgret search --rerank takes more",
                )
    return steps
