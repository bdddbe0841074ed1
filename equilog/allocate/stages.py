"""A model as stages that graphs and conversion can see: every ``HybridDEQ`` taken apart, its equilibrium a layer."""

from __future__ import annotations

import copy
from collections import OrderedDict

from torch import Tensor, nn

from equilog.cells import CircuitCell
from equilog.conversion.layers import DigitalEquilibrium, OnChip
from equilog.equilibrium import EquilibriumLayer
from equilog.model import HybridDEQ
from equilog.names import UserError


class Settling(nn.Module):
    """The equilibrium of a circuit-constrained cell, solved digitally: ``z*`` under drives ``(batch, m)``.

    Args:
        cell: what settles.
        equilibrium: how.
    """

    def __init__(self, cell: CircuitCell, equilibrium: EquilibriumLayer) -> None:
        super().__init__()
        self.cell, self.equilibrium = cell, equilibrium

    def forward(self, drive: Tensor) -> Tensor:
        """Return states ``(batch, n)``."""
        settled: Tensor = self.equilibrium(self.cell.system(drive))
        return settled


def staged(model: nn.Module) -> nn.Module:
    """Return a copy in which every :class:`HybridDEQ` is the sequence parameterize, equilibrium, readout.

    It computes the same, and parameters keep their values; it is in evaluation mode.

    Raises:
        UserError: for a model that is converted already.
    """
    for name, module in model.named_modules():
        if isinstance(module, (OnChip, DigitalEquilibrium)):
            raise UserError(
                f"layer {name!r} is converted already: give the network as it was before equilog.convert, so that "
                "every layer can be on either side"
            )
    made = copy.deepcopy(model).eval()
    if isinstance(made, HybridDEQ):
        return _apart(made)
    if not isinstance(made, nn.Sequential) and type(made).__module__.startswith("torch.nn."):
        made = nn.Sequential(made)  # a single layer is a layer in a model
    for parent in list(made.modules()):
        for key, child in list(parent._modules.items()):
            if isinstance(child, HybridDEQ):
                parent._modules[key] = _apart(child)
    return made


def _apart(model: HybridDEQ) -> nn.Sequential:
    stages: OrderedDict[str, nn.Module] = OrderedDict()
    stages["parameterize"] = model.parameterize
    stages["equilibrium"] = Settling(model.cell, model.equilibrium)
    stages["readout"] = model.readout
    return nn.Sequential(stages).eval()
