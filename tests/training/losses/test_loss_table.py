import inspect
import subprocess
import sys

import pytest
from torch import nn

from imgret.tables import resolve
from imgret.training.losses import LOSSES


@pytest.mark.parametrize("name", LOSSES)
def test_every_row_is_a_loss_that_takes_what_it_says(name):
    card = LOSSES[name]
    kind = resolve(card.target)
    assert issubclass(kind, nn.Module)
    assert list(inspect.signature(kind.forward).parameters)[1:] == [
        "descriptors",
        "tuples" if card.needs == "tuples" else "labels",
    ]
    needed = [p.name for p in inspect.signature(kind).parameters.values() if p.default is p.empty]
    assert needed == (["dim", "classes"] if card.needs == "classes" else [])
    assert card.summary
    assert card.source.startswith("arXiv:")


def test_listing_the_losses_does_not_load_torch():
    code = "import sys; from imgret.training.losses import LOSSES; assert LOSSES; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
