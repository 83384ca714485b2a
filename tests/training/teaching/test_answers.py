import numpy as np
import pytest
import torch

from imgret.errors import ImgretError
from imgret.training.teaching.answers import Answers


def answers(folder, images: int = 5, windows: int = 2) -> Answers:
    return Answers(folder, images, windows, dim=3, map_shape=(2, 1, 1))


def some(count: int, first: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows (first, ..., first), (first + 1, ...) and maps of the negated numbers."""
    numbers = torch.arange(count) + first
    return numbers[:, None].repeat(1, 3), -numbers[:, None, None, None].repeat(1, 2, 1, 1)


def test_answers_come_back_for_their_image_and_window_only(tmp_path):
    kept = answers(tmp_path)
    kept.put(np.array([4, 1]), np.array([0, 1]), *some(2, first=7))
    assert kept.known(np.array([4, 4, 1, 0]), np.array([0, 1, 1, 0])).tolist() == [True, False, True, False]
    rows, maps = kept.get(np.array([1, 4, 0]), np.array([1, 0, 0]))
    assert rows.tolist() == [[8] * 3, [7] * 3, [0] * 3]
    assert maps.flatten(1).tolist() == [[-8, -8], [-7, -7], [0, 0]]
    assert kept.answered().tolist() == [1, 4]


def test_the_mean_of_an_image_is_over_its_known_windows(tmp_path):
    kept = answers(tmp_path)
    kept.put(np.array([2]), np.array([0]), *some(1, first=1))
    assert kept.means(np.array([2, 3])).tolist() == [[1] * 3, [0] * 3]
    kept.put(np.array([2, 2]), np.array([1, 1]), *some(2, first=5))  # twice in a batch: the first counts
    assert kept.means(np.array([2])).tolist() == [[3] * 3]  # (1 + 5) / 2


def test_what_was_saved_is_there_in_the_next_process_and_the_rest_is_asked_again(tmp_path):
    kept = answers(tmp_path)
    kept.put(np.array([0]), np.array([0]), *some(1, first=2))
    kept.save()
    kept.put(np.array([1]), np.array([0]), *some(1, first=3))
    again = answers(tmp_path)
    assert again.known(np.arange(5), np.zeros(5, int)).tolist() == [True, False, False, False, False]
    assert again.means(np.array([0])).tolist() == [[2] * 3]
    assert again.get(np.array([0]), np.array([0]))[0].tolist() == [[2] * 3]


def test_answers_of_another_size_are_refused(tmp_path):
    answers(tmp_path).save()
    with pytest.raises(ImgretError, match="of another size"):
        answers(tmp_path, windows=3)
