from __future__ import annotations

import pytest

from imgret.images.braces import expand


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("a.tar", ["a.tar"]),
        ("{08..11}.tar", ["08.tar", "09.tar", "10.tar", "11.tar"]),
        ("{8..11}", ["8", "9", "10", "11"]),
        ("{2..0}", ["2", "1", "0"]),
        ("{000000..000002}", ["000000", "000001", "000002"]),
        ("{train,val}-{0..1}", ["train-0", "train-1", "val-0", "val-1"]),
        ("{}{a}{..}", ["{}{a}{..}"]),  # as a shell leaves them
    ],
)
def test_braces_are_what_a_shell_makes_of_them(name, names):
    assert list(expand(name)) == names
