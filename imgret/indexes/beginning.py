"""Beginning: what is refused, or taken over from the index that is there, before anything is read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol

from imgret.errors import IndexFileError, StoreBusyError
from imgret.store.lock import WriterLock
from imgret.store.store import Store
from imgret.whitening.transform import Whitening


class There(Protocol):
    """An index that is there, undivided or in parts."""

    @property
    def fingerprint(self) -> str: ...

    @property
    def whitening(self) -> Whitening | None: ...


def check_folder(output: Path) -> None:
    """IndexFileError where no index can stand."""
    if Store.exists(output):
        raise IndexFileError(f"{output} is a store; give the index a folder of its own")
    if output.exists() and not output.is_dir():
        raise IndexFileError(f"{output} is a file; -o wants the folder of the index")


def check_kind(kind: str, factory: str | None) -> None:
    """IndexFileError for a kind by name and by a factory string too."""
    if factory is not None and kind != "auto":
        raise IndexFileError(f"the factory string {factory!r} says the kind; leave out --kind {kind}")


def whitening_for(
    output: Path, old: There | None, store: Store, asked: Whitening | Literal["none"] | None
) -> Whitening | None:
    """The whitening asked for, else that of the index there is; IndexFileError when that is of another recipe."""
    if asked is not None or old is None or old.whitening is None:
        return None if asked == "none" else asked
    if old.fingerprint != store.fingerprint:
        raise IndexFileError(
            f"{output} holds whitened descriptors of another recipe than {store.path}; "
            "give a whitening of this recipe with --whitening FILE, or --whitening none"
        )
    return old.whitening


@contextmanager
def held(output: Path, inside: str = "") -> Iterator[None]:
    """The folder of an index, made where there is none and held while it is written; IndexFileError where not."""
    try:
        (output / inside).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise IndexFileError(f"{output} cannot be made: {error.strerror}; name another folder with -o") from error
    try:
        with WriterLock(output):
            yield
    except StoreBusyError as error:
        raise IndexFileError(f"{str(error).partition(';')[0]}; wait for it to end") from None
