import errno
import os
import sys
import threading
import types

import pytest

from imgret.errors import ImgretError, SpaceError
from imgret.training.journal import METRICS, NO_BOARD, Journal, read


@pytest.fixture(autouse=True)
def no_board(monkeypatch):
    """Without TensorBoard, whatever is installed here."""
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)


class Board:
    """What a TensorBoard writer was told."""

    def __init__(self, folder, purge_step=None):
        self.folder, self.purge_step, self.scalars, self.closed = folder, purge_step, [], False
        Board.last = self

    def add_scalar(self, name, value, step):
        self.scalars.append((name, value, step))

    def close(self):
        self.closed = True


@pytest.fixture
def board(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", types.SimpleNamespace(SummaryWriter=Board))
    return Board


def quiet(text):
    pass


def fill(folder, steps, lines=0):
    with Journal(folder, quiet, lines) as journal:
        for step in steps:
            journal.write(step, epoch=step / 10, loss=1 / step)
        return journal.lines


def test_a_record_is_one_json_object_on_one_line(tmp_path):
    with Journal(tmp_path, quiet) as journal:
        journal.write(10, epoch=0.5, loss=2.25, lr=1e-3)
        journal.write(20, epoch=1, score=0.5, note="été")
        assert journal.lines == 2
    text = (tmp_path / METRICS).read_text(encoding="utf-8")
    assert text == (
        '{"step": 10, "epoch": 0.5, "loss": 2.25, "lr": 0.001}\n{"step": 20, "epoch": 1, "score": 0.5, "note": "été"}\n'
    )
    assert read(tmp_path / METRICS)[1] == {"step": 20, "epoch": 1, "score": 0.5, "note": "été"}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_none_becomes_null(tmp_path, value):
    with Journal(tmp_path, quiet) as journal:
        journal.write(1, loss=value)
    assert read(tmp_path / METRICS) == [{"step": 1, "loss": None}]


def test_a_record_can_be_read_while_the_run_goes_on(tmp_path):
    with Journal(tmp_path, quiet) as journal:
        journal.write(1, loss=1.0)
        assert len(read(tmp_path / METRICS)) == 1


def test_a_resumed_journal_ends_up_as_that_of_an_uninterrupted_run(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    fill(whole, range(1, 8))
    assert fill(killed, range(1, 4)) == 3  # here a checkpoint is made
    fill(killed, range(4, 7), lines=3)  # and these are lost with the process
    with open(killed / METRICS, "a") as file:
        file.write('{"step": 7, "lo')
    assert fill(killed, range(4, 8), lines=3) == 7
    assert (killed / METRICS).read_bytes() == (whole / METRICS).read_bytes()


def test_a_new_run_begins_an_empty_journal(tmp_path):
    fill(tmp_path, [1, 2])
    fill(tmp_path, [1])
    assert [record["step"] for record in read(tmp_path / METRICS)] == [1]


@pytest.mark.parametrize("torn", [b'{"step": 3, "lo', b'{"step": 3, "loss": 1.0}', b"\xff\xfe"])
def test_a_torn_last_line_is_left_out_when_read_and_cut_when_resumed(tmp_path, torn):
    fill(tmp_path, [1, 2])
    before = (tmp_path / METRICS).read_bytes()
    (tmp_path / METRICS).write_bytes(before + torn)
    assert len(read(tmp_path / METRICS)) == 2
    heard = []
    Journal(tmp_path, heard.append, lines=3).close()
    assert (tmp_path / METRICS).read_bytes() == before
    assert heard[0] == f"{tmp_path / METRICS} has 2 of the 3 records up to the checkpoint; the others are lost"


def test_a_journal_that_was_removed_is_said_and_begun_again(tmp_path):
    heard = []
    with Journal(tmp_path, heard.append, lines=5, step=50) as journal:
        journal.write(51, loss=1.0)
    assert "has 0 of the 5 records" in heard[0]
    assert len(read(tmp_path / METRICS)) == 1


@pytest.mark.parametrize("line", ["nonsense", "[1]", '{"loss": 1}', ""])
def test_a_damaged_line_is_said_by_number(tmp_path, line):
    (tmp_path / METRICS).write_text('{"step": 1}\n' + line + '\n{"step": 3}\n')
    with pytest.raises(ImgretError, match=r"metrics.jsonl, line 2: no record of training"):
        read(tmp_path / METRICS)


def test_a_journal_that_is_not_there_is_said(tmp_path):
    with pytest.raises(ImgretError, match=r"metrics.jsonl cannot be read: No such file"):
        read(tmp_path / METRICS)


@pytest.mark.parametrize("call", ["write", "flush"])
def test_a_full_disk_is_one_line(tmp_path, monkeypatch, call):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with Journal(tmp_path, quiet) as journal:
        wrapped = types.SimpleNamespace(write=journal._file.write, flush=journal._file.flush, close=journal._file.close)
        setattr(wrapped, call, full)
        monkeypatch.setattr(journal, "_file", wrapped)
        with pytest.raises(
            SpaceError, match="no space left while writing .*metrics.jsonl; the last checkpoint is safe"
        ):
            journal.write(1, loss=1.0)


def test_what_a_full_disk_left_in_the_buffer_does_not_hide_the_line_about_it(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(SpaceError), Journal(tmp_path, quiet) as journal:  # noqa: PT012
        journal._file.close()
        monkeypatch.setattr(journal, "_file", types.SimpleNamespace(write=full, flush=full, close=full))
        journal.write(1, loss=1.0)


def test_a_full_disk_under_tensorboard_is_one_line_and_its_thread_says_nothing(tmp_path, board, monkeypatch, capsys):
    def dies(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    def in_a_thread(*_):  # as TensorBoard does: its thread dies aloud, and the next call raises what it died of
        thread = threading.Thread(target=dies)
        thread.start()
        thread.join()
        dies()

    hook = threading.excepthook
    monkeypatch.setattr(Board, "add_scalar", in_a_thread)
    with pytest.raises(SpaceError, match="no space left"), Journal(tmp_path, quiet) as journal:
        journal.write(1, loss=1.0)
    assert capsys.readouterr().err == ""
    assert threading.excepthook is hook


def test_sync_asks_the_disk(tmp_path, monkeypatch):
    asked = []
    with Journal(tmp_path, quiet) as journal:
        monkeypatch.setattr(os, "fsync", asked.append)
        journal.sync()
        assert asked == [journal._file.fileno()]


def test_a_missing_tensorboard_is_said_once(tmp_path):
    heard = []
    with Journal(tmp_path, heard.append) as journal:
        journal.write(1, loss=1.0)
        journal.write(2, loss=1.0)
    assert heard == [NO_BOARD]
    assert "pip install 'imgret[train]'" in NO_BOARD


def test_tensorboard_is_told_every_number(tmp_path, board):
    heard = []
    with Journal(tmp_path, heard.append) as journal:
        journal.write(10, loss=2.5, lr=0.1, note="text", bad=float("nan"))
    assert heard == []
    assert board.last.folder == str(tmp_path / "tensorboard")
    assert board.last.scalars == [("loss", 2.5, 10), ("lr", 0.1, 10)]
    assert board.last.closed


@pytest.mark.parametrize(("lines", "step", "purged"), [(0, 0, None), (2, 20, 21)])
def test_tensorboard_hides_what_came_after_the_checkpoint(tmp_path, board, lines, step, purged):
    fill(tmp_path, [10, 20, 30])
    Journal(tmp_path, quiet, lines, step).close()
    assert board.last.purge_step == purged
