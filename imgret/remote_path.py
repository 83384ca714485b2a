"""RemotePath: a file or folder at a URL of fsspec, with those methods of Path that a STORE needs.

Object stores know no rename and no folders. A file is written by one request, whole, and read by ranges; each request
is tried again while the network may come back. Listings are never taken from a cache.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeAlias, TypeVar

from imgret.errors import StoreError
from imgret.places import is_url, local, unfolded

T = TypeVar("T")

WAITS = (0.5, 2.0, 6.0)
"""Seconds before a request that failed is made again; after the last the command ends."""

BLOCK = 1 << 16
"""Bytes of a file that are asked for at least."""

_FOR_GOOD = (PermissionError, IsADirectoryError, NotADirectoryError, ImportError, ValueError, NotImplementedError)


class Size(NamedTuple):
    """What `stat` tells."""

    st_size: int


class RemotePath:
    """A place at a URL. FileNotFoundError for a file that is not there; what else goes wrong is a StoreError."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def __str__(self) -> str:
        return self._url

    def __repr__(self) -> str:
        return f"RemotePath({self._url!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemotePath) and self._url == other._url

    def __hash__(self) -> int:
        return hash(self._url)

    def __truediv__(self, name: str) -> RemotePath:
        return RemotePath(f"{self._url}/{name}")

    @property
    def name(self) -> str:
        return self._url.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        return Path(self.name).suffix

    @property
    def parent(self) -> RemotePath:
        return RemotePath(self._url.rpartition("/")[0])

    def absolute(self) -> RemotePath:
        return self

    def resolve(self) -> RemotePath:
        return self

    def exists(self) -> bool:
        return self._info() is not None

    def is_dir(self) -> bool:
        info = self._info()
        return info is not None and info["type"] == "directory"

    def is_file(self) -> bool:
        info = self._info()
        return info is not None and info["type"] == "file"

    def stat(self) -> Size:
        info = self._info()
        if info is None:
            raise FileNotFoundError(self._url)
        return Size(int(info["size"]))

    def glob(self, pattern: str) -> Iterator[RemotePath]:
        """The files of this folder whose names are so; of a folder that is not there, none."""
        try:
            found = self._asked("cannot be listed", lambda system, place: system.ls(place, detail=False))
        except FileNotFoundError:
            found = []
        names = (name.rstrip("/").rpartition("/")[2] for name in found)
        return (self / name for name in names if fnmatchcase(name, pattern))

    def open(self, mode: str = "r", *, encoding: str | None = None, newline: str | None = None) -> IO[Any]:
        """The file, to be read here and there: bytes by ranges, a block at least."""
        raw = io.BufferedReader(_Ranges(self, self.stat().st_size), BLOCK)
        return raw if mode == "rb" else io.TextIOWrapper(raw, encoding=encoding, newline=newline)

    def read_bytes(self) -> bytes:
        return bytes(self._asked("cannot be read", lambda system, place: system.cat_file(place)))

    def read_text(self, encoding: str = "utf-8") -> str:
        return self.read_bytes().decode(encoding)

    def read_range(self, start: int, end: int) -> bytes:
        """Bytes of the file from `start` to before `end`; a server that knows no ranges is a StoreError."""
        data = self._asked("cannot be read", lambda system, place: system.cat_file(place, start=start, end=end))
        if len(data) != end - start:
            raise StoreError(f"{self}: {len(data)} bytes came where {end - start} were asked for")
        return bytes(data)

    def write_bytes(self, data: bytes) -> None:
        """Write the file by one request, in the place of what was there."""
        try:
            self._asked("cannot be written", lambda system, place: system.pipe_file(place, data))
        except FileNotFoundError as error:
            raise StoreError(f"{self} cannot be written: no such bucket or folder; make it first") from error

    def unlink(self, missing_ok: bool = False) -> None:
        try:
            self._asked("cannot be removed", lambda system, place: system.rm_file(place))
        except FileNotFoundError:
            if not missing_ok:
                raise

    def mkdir(self, parents: bool = False, exist_ok: bool = False) -> None:
        """Nothing: an object store has no folders, and where there are some they are made by hand."""

    def _info(self) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self._asked("cannot be reached", lambda system, place: system.info(place))
        except FileNotFoundError:
            return None
        return found

    def _asked(self, what: str, request: Callable[[Any, str], T]) -> T:
        for wait in (*WAITS, None):
            try:
                system, place = filesystem(self._url)
                system.invalidate_cache()
                return request(system, place)
            except ImportError as error:
                raise StoreError(f"{self} {what}: {_words(error)}; pip install 'imgret[remote]'") from error
            except Exception as error:  # each filesystem has errors of its own
                gone = isinstance(error, FileNotFoundError)
                # over http every failure is called so: its cause is looked at
                if gone and (error.__cause__ is None or getattr(error.__cause__, "status", None) in (None, 404, 410)):
                    raise
                if wait is None or isinstance(error, _FOR_GOOD) or "Credentials" in type(error).__name__:
                    again = "what was written is kept, the same command goes on from there" if wait is None else ""
                    raise StoreError(f"{self} {what}: {_words(error)}{again and '; ' + again}") from error
                time.sleep(wait)
        raise AssertionError("the last try returns or raises")


Place: TypeAlias = Path | RemotePath
"""Where a STORE is."""


class _Ranges(io.RawIOBase):
    def __init__(self, path: RemotePath, size: int) -> None:
        self._path, self._size, self._at = path, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        count = max(0, min(len(buffer), self._size - self._at))
        if count:
            buffer[:count] = self._path.read_range(self._at, self._at + count)
            self._at += count
        return count


def as_place(path: Place | str) -> Place:
    """A path or a URL as a place; of a URL that pathlib folded, `//` is made whole. file:// is a path."""
    if isinstance(path, RemotePath):
        return path
    text = local(unfolded(path))
    return RemotePath(text) if is_url(text) else Path(text)


def check_place(path: Place, offline: bool) -> None:
    """StoreError for a URL that may not be reached, or that nothing installed here can reach. Opens no connection."""
    if not isinstance(path, RemotePath):
        return
    if offline and not str(path).lower().startswith("memory://"):
        raise StoreError(f"{path} is not reached with --offline; leave that out, or take a folder of this machine")
    if lacking := lacks(str(path)):
        raise StoreError(f"{path} {lacking}")


def lacks(url: str) -> str | None:
    """What is not installed here to read a URL, as the end of a sentence that begins with it; None where nothing is."""
    try:
        import fsspec
    except ImportError:
        return "is read with: pip install 'imgret[remote]'"
    try:
        fsspec.get_filesystem_class(url.partition("://")[0].lower())
    except (ImportError, ValueError) as error:
        return f"cannot be read: {_words(error)}"
    return None


def filesystem(url: str) -> tuple[Any, str]:
    """The filesystem of a URL, and its place there. fsspec's own way takes a name with '::' for a chain of URLs."""
    import fsspec

    scheme, _, rest = url.partition("://")
    kind, url = fsspec.get_filesystem_class(scheme.lower()), f"{scheme.lower()}://{rest}"
    place = kind._strip_protocol(url)
    if "::" in place:  # memory leaves such a name without the '/' before it
        place = kind.root_marker + place.lstrip("/")
    return fsspec.filesystem(scheme.lower(), **kind._get_kwargs_from_urls(url)), place


def _words(error: BaseException) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__
