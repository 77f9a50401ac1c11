"""What a disturbed source looks like: enough changes, and it stays what it is."""

from __future__ import annotations

import numpy as np
import pytest

from backprop_doctor.dependence import disturbed

CORNERS = np.array([[0, 0, 1, 1], [0, 1, 0, 1]])


@pytest.mark.parametrize("samples_first", [False, True])
def test_disturbed_corners_of_xor_are_other_corners_for_the_same_labels(*, samples_first: bool) -> None:
    given = CORNERS.T.copy() if samples_first else CORNERS
    moved = disturbed(given)
    columns = moved.T if samples_first else moved
    of_each_label = [np.array([0, 1, 1, 0]) == label for label in (0, 1)]
    assert any(sorted(columns[:, own].T.tolist()) != sorted(CORNERS[:, own].T.tolist()) for own in of_each_label)


def test_disturbed_rows_of_classes_are_rows_of_classes() -> None:
    moved = disturbed(np.eye(4, dtype=int)[[0, 1, 2, 3, 3, 1]])
    assert (moved.sum(axis=1) == 1).all()
    assert not (moved == np.eye(4, dtype=int)[[0, 1, 2, 3, 3, 1]]).all(axis=1)[:4].any()
