"""How far a small change of a chip moves its resting states: the adjoint of the resting equation, on the tape.

At rest ``K p = F(z)`` with ``z = φ(p)``, ``K = 1 + N/A₀`` what finite gain takes away, and F what arrives at the
neurons in units of V_a. To first order, changes ε of the activations' outputs and η of F move the states by

    δz = S (ε + D K⁻¹ η),    S = (I − DW)⁻¹,    D = φ'(p*),

with W the weight of :func:`~equilog.hardware.twin.static_system`.

For independent changes of covariance Q, ``E‖δz‖² = tr(S Q Sᵀ)``. With a probe v of independent signs
``E[(vᵀS)_i²] = ‖S e_i‖²`` (Hutchinson, Commun. Stat. Simul. 18 (1989) 1059), so that one adjoint solve

    λ = v + WᵀDλ,    μ = K⁻ᵀ D λ

is enough for an estimate without bias, ``λᵀ Q_ε λ + μᵀ Q_η μ``. A known, common change instead of a random one has
``‖δz‖² = E[(λᵀε + μᵀη)²]``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from equilog.cells import AffineSystem
from equilog.cells.activation import Linear
from equilog.equilibrium import Auto, EquilibriumLayer
from equilog.hardware import ProgrammedLayer
from equilog.hardware.twin import TwinState

_settle = EquilibriumLayer(Auto(probe=False))


@dataclass(frozen=True)
class Response:
    """What probes say of a batch at rest; shapes ``(…, batch, n)``.

    Attributes:
        of_outputs: λ, how the probed states answer to changes of the activations' outputs z.
        of_sums: μ, how they answer to changes of what arrives at the neurons, in units of V_a.
    """

    of_outputs: Tensor
    of_sums: Tensor

    def of_drives(self, layer: ProgrammedLayer) -> Tensor:
        """Return how they answer to changes of what the DACs play, in units of full scale, shape ``(…, batch, m)``."""
        found: Tensor = self.of_sums @ layer.effective[:, layer.states : -1]
        return found


def one_chip(state: TwinState) -> None:
    """Raise ``ValueError`` for a population: its chips would have to be averaged in a way that only the caller knows.

    The chip that training meets changes at every step, which averages over them.
    """
    if state.layer.chips is not None:
        raise ValueError(
            f"a population of {state.layer.chips} chips: expected the state of a single one; call the loss chip by chip"
        )


def probed(state: TwinState, generator: torch.Generator | None) -> Response:
    """Return the response to one probe of random signs for each sample."""
    one_chip(state)
    signs = torch.randint(0, 2, state.p.shape, generator=generator).to(state.p).mul_(2).sub_(1)
    slope = state.system.activation.slope(state.p)
    lam = _settle.rest(AffineSystem(state.system.weight.mT, signs, Linear(slope)))
    return Response(lam, _through_gain(state.layer, slope * lam))


def all_probed(state: TwinState) -> Response:
    """Return the responses of all states one by one, leading dimension n: rows of S. O(n³) for every sample."""
    one_chip(state)
    slope = state.system.activation.slope(state.p)
    eye = torch.eye(state.layer.states).to(state.p)
    rows = torch.linalg.inv(eye - slope[:, :, None] * state.system.weight).transpose(0, 1)
    return Response(rows, _through_gain(state.layer, slope * rows))


def noise_gain(layer: ProgrammedLayer) -> Tensor:
    """Return N, shape ``(n,)``, or ``(n, n)`` with resistive wires."""
    if not layer.wired:
        return layer.noise_gain
    return layer.r_feedback_ohm * layer.load_siemens + torch.eye(layer.states).to(layer.load_siemens)


def _through_gain(layer: ProgrammedLayer, value: Tensor) -> Tensor:
    """Return ``K⁻ᵀ`` times the value of every sample."""
    if not layer.wired:
        return value / (1 + noise_gain(layer) / layer.dc_gain)
    missing = noise_gain(layer) / layer.dc_gain + torch.eye(layer.states).to(value)
    return torch.linalg.solve(missing, value, left=False)
