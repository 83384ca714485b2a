from __future__ import annotations

import errno

import pytest

from imgret.errors import StoreBusyError, StoreError
from imgret.store import lock
from imgret.store.lock import WriterLock


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_not_taken_for_another_writer(tmp_path, monkeypatch, code):
    def refuse(file):
        raise OSError(code, "no locks here")

    monkeypatch.setattr(lock, "_lock", refuse)
    with pytest.raises(StoreError, match=r"gives no locks \(no locks here\); mount it") as caught:
        WriterLock(tmp_path).__enter__()
    assert not isinstance(caught.value, StoreBusyError)


def test_a_lock_that_is_held_names_its_holder(tmp_path):
    with WriterLock(tmp_path), pytest.raises(StoreBusyError, match="is being written by process"):
        WriterLock(tmp_path).__enter__()
