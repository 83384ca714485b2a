"""Images behind URLs (s3://, gs://, http://, memory://, ...) by way of fsspec, an extra: imgret[remote].

A filesystem is made once in each process, by fsspec itself. Nothing is kept on the disk. memory:// lives in one
process: its images are read where they were put, with --workers 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timezone
from multiprocessing import parent_process
from typing import IO, Any

from imgret.errors import ImgretError, InputError
from imgret.ids import escape
from imgret.images.image_file import ImageFile, is_image
from imgret.images.listing import Listing
from imgret.images.reading import RefusedError
from imgret.remote_path import filesystem, lacks

BATCH = 256
"""URLs of a list that are asked for at once, by so many threads as `_THREADS`."""

_THREADS = 16
_CHANGED = ("mtime", "LastModified", "last_modified", "updated", "created")  # as the filesystems call it
_GONE = (404, 410)


def check(url: str, offline: bool) -> None:
    """InputError when a URL may not or cannot be read here. Opens no connection."""
    scheme = url.partition("://")[0].lower()
    if offline and scheme != "memory":
        raise InputError(f"{escape(url)} is not read with --offline; leave that out, or copy the images here first")
    if lacking := lacks(url):
        raise InputError(f"{escape(url)} {lacking}")


def is_folder(url: str) -> bool:
    """Whether a URL names a folder. A web server has no folders, only pages: there one ends with '/'.

    InputError when nothing is there, or it cannot be reached.
    """
    if url.endswith("/"):
        return True
    try:
        system, place = filesystem(url)
        return bool(system.info(place)["type"] == "directory")
    except FileNotFoundError as error:
        cause = error.__cause__
        why = "no such file or folder" if cause is None or _is_gone(cause) else f"cannot be reached: {_words(cause)}"
        raise InputError(f"{escape(url)}: {why}") from error
    except Exception as error:  # each filesystem has errors of its own
        raise InputError(f"{escape(url)} cannot be reached: {_words(error)}") from error


def add_folder(listing: Listing, url: str, root: str) -> None:
    """The images below a URL, in byte order of their ids. At most the names of one folder are held."""
    try:
        system, place = filesystem(url)
    except Exception as error:  # each filesystem has errors of its own
        raise InputError(f"{escape(url)} cannot be reached: {_words(error)}") from error
    prefix = relative_id(url, root)
    prefix = prefix and prefix.rstrip("/") + "/"
    for name, info in _walk(system, place, "", listing.notes):
        if not is_image(name):
            listing.others += 1
        elif listing.takes(prefix + name):
            size, changed = _facts(info)
            listing.images.append(ImageFile(prefix + name, f"{url.rstrip('/')}/{name}", root, size, changed))


def relative_id(url: str, root: str) -> str:
    """What a URL has beyond its root; '' for the root itself. InputError when it lies elsewhere."""
    if url.rstrip("/") == root.rstrip("/"):
        return ""
    if not url.startswith(root + "/"):
        raise InputError(f"{escape(url)} is not below --root {escape(root)}")
    return url[len(root) + 1 :]


def parent(url: str) -> str:
    """The URL of the folder that a file is in."""
    return url.partition("?")[0].rpartition("/")[0]


def server(url: str) -> str:
    """The server or bucket of a URL: s3://bucket/a/b.jpg -> s3://bucket."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"


def look(urls: Sequence[str]) -> list[tuple[int, int]]:
    """Size (-1 for what is not there, 0 when the place does not tell) and time of files, asked for in parallel."""
    if len(urls) < 2:
        return [_look(url) for url in urls]
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(_look, urls))


@contextmanager
def opened(url: str) -> Iterator[IO[bytes]]:
    """A file, opened to be read here and there; what goes wrong until it is closed is an InputError."""
    try:
        system, place = filesystem(url)
        with system.open(place, "rb") as file:
            yield file
    except ImgretError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{escape(url)}: no such file or folder") from error
    except Exception as error:  # each filesystem has errors of its own
        raise InputError(
            f"{escape(url)} cannot be read from the middle ({_words(error)}); copy it here first"
        ) from error


def read(url: str, start: int, size: int | None) -> bytes:
    """Bytes of a file from `start` on, fewer than `size` at its end. RefusedError when they cannot be had."""
    try:
        system, place = filesystem(url)
        if size is None:
            return bytes(system.cat_file(place))
        data = bytes(system.cat_file(place, start=start, end=start + size)) if size else b""
        return data if len(data) <= size else data[start : start + size]  # a server without ranges gives all of it
    except FileNotFoundError:
        if url.lower().startswith("memory://") and parent_process() is not None:
            raise RefusedError("unreadable", "memory:// lives in one process: take --workers 0", retry=True) from None
        raise RefusedError("missing", "no such file", retry=True) from None
    except Exception as error:  # each filesystem has errors of its own; what the network refuses may pass
        raise RefusedError("unreadable", f"cannot be read: {_words(error)}", retry=True) from None


def is_lost(url: str) -> bool:
    """Whether a file is no more. False when that cannot be told: no answer is no proof."""
    return _look(url)[0] < 0


def _look(url: str) -> tuple[int, int]:
    try:
        system, place = filesystem(url)
        system.invalidate_cache()
        return _facts(system.info(place))
    except FileNotFoundError as error:  # over http so says every failure: its cause is looked at
        return (-1, 0) if error.__cause__ is None or _is_gone(error.__cause__) else (0, 0)
    except Exception:  # reading it will tell
        return 0, 0


def _is_gone(error: BaseException) -> bool:
    return isinstance(error, FileNotFoundError) or getattr(error, "status", None) in _GONE


def _walk(system: Any, folder: str, prefix: str, notes: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(path below the folder, what its filesystem tells) of every visible file, in byte order of the paths."""
    try:
        system.invalidate_cache()
        found = system.ls(folder, detail=True)
    except Exception as error:  # each filesystem has errors of its own
        if not prefix:
            raise InputError(f"{escape(folder)} cannot be listed: {_words(error)}") from error
        notes.append(f"{escape(folder)} cannot be listed: {_words(error)}")
        return
    inside = []
    for info in found:
        name = info["name"].rstrip("/").removeprefix(folder.rstrip("/")).lstrip("/")
        if name and "/" not in name and not name.startswith((".", "?")):  # ?C=N sorts the listing of a web server
            inside.append((name + "/" if info["type"] == "directory" else name, info))
    inside.sort(key=lambda one: one[0].encode("utf-8", "surrogateescape"))
    for name, info in inside:
        if name.endswith("/"):
            yield from _walk(system, info["name"], prefix + name, notes)
        else:
            yield prefix + name, info


def _facts(info: dict[str, Any]) -> tuple[int, int]:
    changed = next((info[name] for name in _CHANGED if info.get(name) is not None), None)
    return int(info.get("size") or 0), _nanoseconds(changed)


def _nanoseconds(moment: object) -> int:
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment.replace("Z", "+00:00"))
        except ValueError:
            return 0
    if isinstance(moment, datetime):
        aware = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
        moment = aware.timestamp()
    return int(moment * 1e9) if isinstance(moment, int | float) else 0


def _words(error: BaseException) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__
