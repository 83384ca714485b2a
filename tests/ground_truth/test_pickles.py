"""What a hostile pickle can ask for, and that none of it happens."""

from __future__ import annotations

import builtins
import collections
import io
import operator
import os
import pickle
import struct

import numpy as np
import pytest

from imgret.errors import GroundTruthError
from imgret.ground_truth import load
from imgret.ground_truth.pickles import RefusedError, loads


class Call:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


class Stateful:
    """Pickles as a call followed by a state."""

    def __init__(self, function, arguments, state):
        self.parts = function, arguments, state

    def __reduce__(self):
        return self.parts


@pytest.fixture
def sentinel(tmp_path):
    return tmp_path / "it ran"


def attacks(sentinel):
    command = f"touch '{sentinel}'"
    code = f"open({str(sentinel)!r}, 'w').close()"
    return {
        "posix.system": Call(os.system, command),
        "builtins.eval": Call(eval, code),
        "builtins.exec": Call(exec, code),
        "builtins.getattr": Call(getattr, "os", "system"),
        "builtins.__import__": Call(__import__, "os"),
        "io.open": Call(io.open, str(sentinel), "w"),
        "_operator.attrgetter": Call(operator.attrgetter, "system"),
        "collections.OrderedDict": Call(collections.OrderedDict),
        "builtins.set": Stateful(builtins.set, ([1],), None),
        "numpy.loadtxt": Call(np.loadtxt, str(sentinel)),
    }


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("nested", [False, True])
def test_nothing_but_data_is_reached_and_nothing_runs(sentinel, protocol, nested):
    for name, attack in attacks(sentinel).items():
        value = {"imlist": ["a"], "qimlist": [], "gnd": [{"easy": [attack]}]} if nested else attack
        with pytest.raises(RefusedError) as caught:
            loads(pickle.dumps(value, protocol))
        # the module is called posix or nt, io or _io, by platform and protocol; the attribute is enough
        assert name.rpartition(".")[2] in str(caught.value)
    assert not sentinel.exists()


def test_the_user_reads_one_line_with_what_was_asked_for(tmp_path, sentinel):
    (tmp_path / "gnd.pkl").write_bytes(pickle.dumps({"imlist": Call(os.system, f"touch '{sentinel}'")}))
    with pytest.raises(GroundTruthError, match=r"posix\.system|nt\.system") as caught:
        load(tmp_path / "gnd.pkl")
    assert "\n" not in str(caught.value)
    assert not sentinel.exists()


@pytest.mark.parametrize(
    "written",
    [
        b"cos\nsystem\n(S'true'\ntR.",  # protocol 0: global, mark, string, tuple, reduce
        b"(S'true'\nios\nsystem\n.",  # INST
        b"(cos\nsystem\nS'true'\no.",  # OBJ
        b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R.",  # STACK_GLOBAL
        b"\x80\x04\x8c\x05numpy\x8c\x0andarray.__init__.__globals__\x93.",  # a dotted name
        b"\x80\x02cnumpy\nndarray\n)\x81.",  # NEWOBJ
        b"\x80\x02cnumpy\nndarray\n(K\x0atR.",  # numpy.ndarray(10) would be uninitialised memory
        b"\x80\x02cnumpy\nndarray\n}X\x01\x00\x00\x00aK\x01sb.",  # BUILD on the class
        b"\x80\x02c_codecs\nencode\n(X\x01\x00\x00\x00aX\x06\x00\x00\x00rot_13tR.",  # another codec
        b"\x80\x02c__builtin__\nbytes\n(I1000000000000\ntR.",  # a terabyte of zeros
        b"Psomething\n.",  # a persistent id
        b"\x80\x02\x82\x01.",  # the extension registry
        b"\x80\x05\x97.",  # a buffer from outside
        b"\x80\x05\x96" + struct.pack("<Q", 1 << 50) + b"abc.",  # a bytearray larger than the file
        b"\x80\x04\x8e" + struct.pack("<Q", 1 << 50) + b"abc.",  # bytes larger than the file
        b"\x80\x02Nr\xff\xff\xff\x7f.X",  # a memo slot of number 2**31 - 1 and rubbish after it
        b"\x80\x02cnumpy\nndarray\n.",  # a bare class
        b"\x80\x02(lp0\n",  # cut off
        b"\x80\x63.",  # an unknown protocol
        b"",
    ],
)
def test_pickles_written_by_hand_are_refused_or_are_data(written):
    try:
        value = loads(written)
    except RefusedError:
        return
    assert value is None  # the memo slot: harmless here, 16 GB in the interpreter in C


def array_pickle(code, shape, raw, order="<"):
    """A protocol-2 pickle of an array, as numpy writes it, with any contents."""

    class Written:
        def __reduce__(self):
            dtype = Stateful(np.dtype, (code, False, True), (3, order, None, None, None, -1, -1, 0))
            return (
                np._core.multiarray._reconstruct,
                (np.ndarray, (0,), b"b"),
                (1, shape, dtype, False, raw),
            )

    return pickle.dumps(Written(), 2)


def test_the_hand_made_array_is_an_array():
    assert loads(array_pickle("i4", (2,), struct.pack("<2i", 5, 7))).tolist() == [5, 7]


@pytest.mark.parametrize(
    ("code", "shape", "raw"),
    [
        ("i8", (10**12,), b""),  # a huge shape without the data for it
        ("i8", (2,), b"\0" * 8),
        ("i8", (-1,), b"\0" * 8),
        ("i8", (1,) * 40, b"\0" * 8),
        ("O8", (1,), b"\0" * 8),  # pointers
        ("V8", (1,), b"\0" * 8),
        ("M8", (1,), b"\0" * 8),
        ("U99999999999", (0,), b""),
        ("i8", "ab", b"\0" * 8),
    ],
)
def test_arrays_are_numbers_with_exactly_their_bytes(code, shape, raw):
    with pytest.raises(RefusedError):
        loads(array_pickle(code, shape, raw))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_object_and_record_arrays_are_refused(protocol, sentinel):
    inside = np.array([Call(os.system, f"touch '{sentinel}'"), None], object)
    for array in (inside, np.array([[1], None], object), np.zeros(2, "i4,i4")):
        with pytest.raises(RefusedError):
            loads(pickle.dumps(array, protocol))
    assert not sentinel.exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "array",
    [
        np.arange(6).reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array([], np.int64),
        np.array(["a", "bé"]),
        np.array([b"a", b"bc"]),
        np.array([True, False]),
        np.array(3, ">u2"),
    ],
    ids=lambda array: f"{array.dtype}{list(array.shape)}",
)
def test_arrays_come_back_as_they_were(array, protocol):
    back = loads(pickle.dumps(array, protocol))
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)
    read_only = array.copy()
    read_only.flags.writeable = False
    np.testing.assert_array_equal(loads(pickle.dumps(read_only, protocol)), array)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_comes_back_as_it_was(protocol):
    value = {
        "a": [1, -(2**70), 2.5, None, True, "é", b"\xff", b""],
        "b": {"c": [np.float32(0.5), np.int64(3)]},
    }
    assert loads(pickle.dumps(value, protocol)) == {
        "a": [1, -(2**70), 2.5, None, True, "é", b"\xff", b""],
        "b": {"c": [0.5, 3]},
    }


def test_both_spellings_of_numpys_core_are_read():
    new = pickle.dumps(np.arange(3), 2)
    old = new.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert loads(new).tolist() == [0, 1, 2]
    assert loads(old).tolist() == [0, 1, 2]


def python2_array(numbers):
    """An int64 array as Python 2 wrote it: byte strings (U) where Python 3 has text and encoded bytes."""
    raw = struct.pack(f"<{len(numbers)}q", *numbers)
    return (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
        + b"(K\x01(K"
        + bytes([len(numbers)])
        + b"tcnumpy\ndtype\n(U\x02i8K\x00K\x01tR"
        + b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        + b"U"
        + bytes([len(raw)])
        + raw
        + b"tb"
    )


def test_pickles_of_python_2_are_read(tmp_path):
    written = (
        b"\x80\x02}(U\x06imlist](U\x05all_1U\x05caf\xc3\xa9U\x04bad\xe9eU\x07qimlist]U\x01qa"
        b"U\x03gnd]}(U\x03bbx](G@a\x10\x00\x00\x00\x00\x00K\x22G@\x84@\x00\x00\x00\x00\x00M\xbb\x03e"
        b"U\x04easy" + python2_array([1]) + b"U\x04hard]U\x04junk" + python2_array([0, 2]) + b"uau."
    )
    (tmp_path / "gnd.pkl").write_bytes(written)
    truth = load(tmp_path / "gnd.pkl")
    assert truth.database == ["all_1", "café", "bad\udce9"]  # bytes, as ids are
    assert truth.queries[0].box == (136.5, 34, 648, 955)
    assert truth.judge(0, "easy").positives.tolist() == [1]
    assert truth.judge(0, "easy").junk.tolist() == [0, 2]


def test_bytes_above_127_in_an_array_of_python_2():
    assert loads(b"\x80\x02" + python2_array([200, -1, 0xC3A9]) + b".").tolist() == [200, -1, 0xC3A9]


def test_a_list_inside_itself_ten_times_over_ends():
    laughs = b"](" + b"h\x00" * 9 + b"e"
    written = b"\x80\x02K\x01q\x00" + b"".join(b"0" + laughs + b"q\x00" for _ in range(7)) + b"."
    assert len(loads(written)) == 9
    with pytest.raises(RefusedError, match="deeper"):
        loads(b"\x80\x02]q\x00h\x00a.")
