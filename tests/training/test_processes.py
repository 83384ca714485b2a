import pytest
import torch
import torch.distributed as dist

from imgret.errors import ImgretError
from imgret.training.processes import ALONE, joined


def test_alone_everything_is_ones_own():
    assert ALONE.mean(torch.tensor([1.5, float("inf")])) == [1.5, float("inf")]
    assert ALONE.share("a") == "a"
    assert ALONE.gather("a") == ["a"]


@pytest.mark.parametrize(
    ("error", "raised", "words"),
    [
        (RuntimeError("[/gloo/transport/tcp/pair.cc:1] Connection closed by peer"), ImgretError, "another process"),
        (dist.DistBackendError("NCCL error"), ImgretError, "another process of this run has ended"),
        (RuntimeError("shapes do not fit"), RuntimeError, "shapes do not fit"),
    ],
)
def test_the_end_of_another_process_is_one_line_and_a_bug_stays_one(monkeypatch, error, raised, words):
    for name, value in (("WORLD_SIZE", "2"), ("RANK", "1"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    left = []
    monkeypatch.setattr(dist, "init_process_group", lambda *_, **__: None)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: left.append(1))
    with pytest.raises(raised, match=words), joined(cuda=False) as processes:  # noqa: PT012
        assert (processes.rank, processes.world, processes.first) == (1, 2, False)
        raise error
    assert left == [1]
