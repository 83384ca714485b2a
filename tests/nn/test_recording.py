import pytest
import torch
from torch import nn

from imgret.nn.recording import recorded


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def test_outputs_come_in_the_order_of_the_calls():
    model, x = net(), torch.rand(5, 3)
    with recorded([model[2], model[0]]) as seen:
        out = model(x)
    assert len(seen) == 2
    assert torch.equal(seen[0], model[0](x))
    assert seen[1] is out


def test_a_module_called_twice_is_recorded_twice():
    layer = nn.Linear(3, 3)
    with recorded([layer]) as seen:
        last = layer(layer(torch.rand(1, 3)))
    assert len(seen) == 2
    assert seen[1] is last


def test_gradients_flow_through_what_is_recorded():
    model = net()
    with recorded([model[1]]) as seen:
        model(torch.rand(5, 3))
    seen[0].sum().backward()
    assert model[0].weight.grad.any()
    assert model[2].weight.grad is None  # behind the recorded layer


def test_nothing_is_recorded_after_the_block():
    model = net()
    with recorded(model) as seen:
        model(torch.rand(5, 3))
    model(torch.rand(5, 3))
    assert len(seen) == 3
    assert not any(layer._forward_hooks for layer in model)


def test_nothing_is_recorded_after_an_error_in_the_block():
    model = net()
    with pytest.raises(RuntimeError), recorded(model):
        model(torch.rand(5, 7))
    assert not any(layer._forward_hooks for layer in model)
