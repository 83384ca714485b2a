from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from imgret.models import cards, load_model


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(cards()))
def test_a_card_tells_the_size_and_cost_of_its_model(name):
    card = cards()[name]
    model = load_model(name, weights="none").model
    assert sum(part.numel() for part in model.parameters()) == card.parameters
    # plain products: which fused attention there is, and whether it is counted, depends on processor and version
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(torch.rand(1, 3, 512, 512))
    # one multiply-add is two operations
    assert counter.get_total_flops() / 2e9 == pytest.approx(card.gmacs, rel=0.01)
