"""What the tests of parts and cursors share."""

from __future__ import annotations

import numpy as np

from neurolocal.corpus import Piece

BOS, EOS = 1, 2
REST = (
    Piece(np.array([5, 6, 7], np.int32), np.array([3, 3, 9]), 1, 4, "Wiki"),
    Piece(np.array([2, 8], np.int32), np.array([-1, -1]), 1, 6, ""),
)
