"""A circuit cell is monotone unless told otherwise, and holds other recurrent weights of its size."""

import pytest
import torch

from equilog.cells import CircuitCell, ContractiveWeight, MonotoneWeight, SymmetricWeight


def test_the_default_stays_monotone():
    assert isinstance(CircuitCell(3, 2).recurrent, MonotoneWeight)
    assert CircuitCell(3, 2, margin=0.5).recurrent.margin == 0.5


@pytest.mark.parametrize("kind", [SymmetricWeight, ContractiveWeight])
def test_it_holds_the_weight_that_it_is_given(kind):
    recurrent = kind(4)
    cell = CircuitCell(4, 2, recurrent=recurrent)
    torch.testing.assert_close(cell.matrices()[0], recurrent())
    assert any(p is q for p in cell.parameters() for q in recurrent.parameters())


def test_a_weight_of_another_size_is_refused():
    with pytest.raises(ValueError, match="5 states in a cell of 4"):
        CircuitCell(4, 2, recurrent=SymmetricWeight(5))
