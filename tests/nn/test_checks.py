import pytest

from imgret.nn.checks import at_least_1


def test_the_first_number_below_1_is_named():
    at_least_1(dim=1, width=None)
    with pytest.raises(ValueError, match="width must be at least 1, got 0"):
        at_least_1(dim=5, width=0, heads=-1)
