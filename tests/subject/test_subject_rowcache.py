"""The tokens, positions and mask of branches side by side, and the buffer that holds a row's keys and values."""

import numpy as np
import torch

from neurolocal.subject.rowcache import RowCache, side_by_side

PREFIX, PLACES = np.array([5, 6, 7]), [(1, (8, 9)), (3, (4,))]
CPU = torch.device("cpu")


def test_a_branch_attends_to_the_row_before_it_and_to_itself():
    beside = side_by_side([(PREFIX, PLACES)], CPU).without_prefix(3)
    assert beside.tokens.tolist() == [[8, 9, 4]]
    assert beside.position.tolist() == [[1, 2, 3]]
    # keys: three of the prefix, then those of the branches
    assert beside.sees[0].int().tolist() == [[1, 0, 0, 1, 0, 0], [1, 0, 0, 1, 1, 0], [1, 1, 1, 0, 0, 1]]
    assert beside.distance[0, 1].tolist() == [2, 1, 0, 1, 0, -1]


def test_the_first_pass_has_the_prefix_with_a_causal_mask():
    first = side_by_side([(PREFIX, PLACES)], CPU)
    assert first.tokens.tolist() == [[5, 6, 7, 8, 9, 4]]
    assert first.position.tolist() == [[0, 1, 2, 1, 2, 3]]
    assert first.sees[0, :3].int().tolist() == [[1, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0]]


def test_each_line_of_several_rows_is_as_alone_and_padding_sees_itself():
    other = (np.array([1]), [(0, (2,)), (1, (3,))])
    both = side_by_side([(PREFIX, PLACES), other], CPU)
    for i, line in enumerate([(PREFIX, PLACES), other]):
        alone = side_by_side([line], CPU)
        n = alone.tokens.shape[1]
        for mine, true in zip(both[:2], alone[:2], strict=True):
            assert torch.equal(mine[i, :n], true[0])
        assert torch.equal(both.sees[i, :n, :n], alone.sees[0])
        assert torch.equal(both.sees[i, n:].int(), torch.eye(6, dtype=torch.int)[n:])
        assert not both.sees[i, :n, n:].any()


def test_a_pass_overwrites_the_branches_of_the_last_one_and_not_the_prefix():
    cache = RowCache(3, room=2)
    prefix = torch.arange(6.0).reshape(1, 1, 3, 2)
    one, two = torch.full((1, 1, 2, 2), 10.0), torch.full((1, 1, 1, 2), 20.0)
    keys, _ = cache.update(prefix, prefix, 0)
    assert torch.equal(keys, prefix)
    for more in (one, two):
        keys, values = cache.update(more, -more, 0)
        assert torch.equal(keys, torch.cat([prefix, more], dim=2))
        assert torch.equal(values, torch.cat([prefix, -more], dim=2))
    assert cache.get_seq_length() == 3
