"""The diode network: one equilibrium, its gradient, and the same resting voltages from ngspice's own diodes."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from builders import drives, generator, normal
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import root
from scipy.special import wrightomega

from equilog.cells.diode import BOLTZMANN_OVER_CHARGE, Diode, DiodeNetworkCell, DiodeReLU, wright_omega
from equilog.circuit import Ngspice
from equilog.circuit.diode_network import diode_rest, linearised_rest, write_diode_network
from equilog.equilibrium import Auto, EquilibriumLayer

TIGHT = EquilibriumLayer(Auto(rtol=1e-13, atol=1e-14), on_failure="raise")
SMALL_SIGNAL = Diode(saturation_ampere=1e-14, ideality=1.0, series_ohm=10.0)
OHMIC = Diode(series_ohm=5e3, kelvin=350.0)


def network(n=6, m=3, seed=0, **options):
    torch.manual_seed(seed)
    return DiodeNetworkCell(n, m, **options).double()


def rest(cell, drive):
    return TIGHT(cell.system(drive))


@pytest.mark.ngspice
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("options", [{}, {"diode": SMALL_SIGNAL}, {"diode": OHMIC, "anode_volt": 0.2}])
def test_real_diodes_rest_where_the_cell_says(options, seed, simulator: Ngspice):
    cell, drive = network(10, 4, seed, **options), 3 * drives(4, 4, seed)
    volt = rest(cell, drive).detach()
    found = diode_rest(cell, drive, simulator)
    assert (found - volt).abs().max() <= 1e-6 * (volt.max() - volt.min())
    held = cell.diode.conductance(cell.anode_volt - volt) > cell.unit_siemens
    assert bool(held.any())
    assert not bool(held.all())


@pytest.mark.ngspice
def test_all_that_differs_is_the_value_of_a_constant_of_nature(simulator: Ngspice):
    """ngspice 39 has k and q of CODATA 2014; at the temperature that makes up for it, twelve digits agree."""
    cell, drive = network(10, 4, diode=SMALL_SIGNAL), 3 * drives(4, 4)
    found = diode_rest(cell, drive, simulator)
    theirs = 1.38064852e-23 / 1.6021766208e-19
    cell.diode = replace(cell.diode, kelvin=cell.diode.kelvin * theirs / BOLTZMANN_OVER_CHARGE)
    assert (found - rest(cell, drive)).abs().max() <= 1e-10


@pytest.mark.ngspice
def test_the_comparison_notices_one_percent_of_one_resistor(simulator: Ngspice, tmp_path):
    cell, drive = network(), 3 * drives(2, 3)
    write_diode_network(cell, tmp_path, drive)
    path = tmp_path / "network.inc"
    text, count = re.subn(r"(?m)^(Rc0_1 \S+ \S+) (\S+)$", lambda m: f"{m[1]} {1.01 * float(m[2])!r}", path.read_text())
    assert count == 1
    path.write_text(text)
    plots = simulator.run(tmp_path, "diodes.cir", "diodes.raw")
    found = torch.tensor([[plot[f"v(n{i})"][0] for i in range(6)] for plot in plots])
    assert (found - rest(cell, drive)).abs().max() > 1e-5


@pytest.mark.ngspice
def test_the_linearised_network_rests_at_the_implicit_gradient(simulator: Ngspice):
    cell, drive, g = network(8, 3), 3 * drives(3, 3), normal(5, 3, 8)
    inputs = drive.clone().requires_grad_()
    (g * rest(cell, inputs)).sum().backward()
    # dL/di in volts; a drive pushes U of it.
    found = linearised_rest(cell, rest(cell, drive).detach(), g, simulator)
    torch.testing.assert_close(
        found @ cell.input_weight * cell.unit_siemens,
        inputs.grad,
        rtol=1e-9,
        atol=1e-12 * float(inputs.grad.abs().max()),
    )


@pytest.mark.parametrize("options", [{}, {"diode": SMALL_SIGNAL, "anode_volt": -0.3}, {"diode": OHMIC}])
def test_rests_where_scipy_solves_the_node_and_junction_equations(options):
    cell, drive = network(5, 2, 3, **options), 2 * drives(1, 2)
    diode, g = cell.diode, cell.conductance().detach().numpy()
    i = cell.currents(drive)[0].detach().numpy()

    def imbalance(unknown):  # node voltages, and the voltage across every junction without its resistor
        v, junction = unknown[:5], unknown[5:]
        through = diode.saturation_ampere * np.expm1(junction / diode.emission_volt)
        node = (g @ v - through - i) / cell.unit_siemens
        return np.concatenate([node, cell.anode_volt - v - junction - diode.series_ohm * through])

    volt = rest(cell, drive)[0].detach()
    through = diode.current(cell.anode_volt - volt)
    start = np.concatenate([volt + 0.01, cell.anode_volt - volt - diode.series_ohm * through])
    found = root(imbalance, start, tol=1e-13)
    assert np.abs(imbalance(found.x)).max() < 1e-10
    np.testing.assert_allclose(volt, found.x[:5], atol=1e-10)


def test_rest_is_the_minimum_of_the_co_content_and_kirchhoff_holds():
    cell, drive = network(), 3 * drives(4, 3)
    volt = rest(cell, drive).detach()
    assert cell.imbalance(volt, drive).abs().max() < 1e-9 * cell.unit_siemens
    least = cell.co_content(volt, drive)
    for seed in range(5):
        away = cell.co_content(volt + 0.05 * normal(seed, 4, 6), drive)
        assert bool((away > least).all())
    moved = (volt + 0.1 * normal(9, 4, 6)).requires_grad_()
    (slope,) = torch.autograd.grad(cell.co_content(moved, drive).sum(), moved)
    torch.testing.assert_close(slope, cell.imbalance(moved, drive), rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("options", [{}, {"diode": OHMIC}])
def test_gradcheck_of_every_parameter_and_the_drive(options):
    cell = network(3, 2, **options)
    names = [name for name, _ in cell.named_parameters()]

    def run(drive, *values):
        def settle(module):
            return TIGHT(module.system(drive))

        wrapped = _Settling(cell, settle)
        return torch.func.functional_call(wrapped, {f"cell.{k}": v for k, v in zip(names, values)}, ())

    values = [p.detach().clone().requires_grad_() for p in cell.parameters()]
    inputs = (drives(2, 2).requires_grad_(), *values)
    assert torch.autograd.gradcheck(run, inputs, atol=1e-7, rtol=1e-6)
    assert torch.autograd.gradgradcheck(run, inputs, atol=1e-6, rtol=1e-5)


class _Settling(torch.nn.Module):
    def __init__(self, cell, settle):
        super().__init__()
        self.cell, self.settle = cell, settle

    def forward(self):
        return self.settle(self.cell)


@given(st.integers(0, 1000), st.integers(1, 12), st.floats(0.01, 10.0))
def test_the_margin_holds_whatever_the_parameters_are(seed, n, size):
    cell = network(n, 2, seed)
    with torch.no_grad():
        for p in cell.parameters():
            p.copy_(size * torch.randn(p.shape, dtype=p.dtype, generator=generator(seed)))
    g = cell.conductance().detach()
    assert torch.equal(g, g.T)
    assert cell.margin_siemens() >= cell.least_leak * cell.unit_siemens * (1 - 1e-9)
    certificate = cell.certificate()
    assert certificate.holds
    assert certificate.symmetric
    assert certificate.spectral_norm < 1 + 1e-9
    gamma = float(g.diagonal().max())
    assert certificate.margin == pytest.approx(cell.margin_siemens() / gamma, abs=1e-9)


@given(st.integers(0, 1000), st.floats(0.01, 3.0))
def test_the_answer_moves_no_further_than_the_margin_allows(seed, size):
    cell = network(5, 2, seed)
    drive = 3 * drives(2, 2, seed)
    other = drive + size * normal(seed, 2, 2)
    moved = torch.linalg.norm(rest(cell, other) - rest(cell, drive), dim=1)
    pushed = torch.linalg.norm(cell.currents(other) - cell.currents(drive), dim=1)
    assert bool((moved <= pushed / cell.margin_siemens() + 1e-12).all())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_wright_omega_is_scipys(dtype):
    x = torch.cat([torch.linspace(-80, 5000, 4001), torch.linspace(-5, 5, 1001)]).to(dtype)
    found, truth = wright_omega(x), torch.from_numpy(wrightomega(x.double().numpy()))
    assert ((found.double() - truth) / truth).abs().max() < 400 * torch.finfo(dtype).eps
    assert wright_omega(torch.tensor(-1e4)) == 0


@given(st.floats(-20, 20), st.floats(1e-6, 1e-1), st.sampled_from([Diode(), SMALL_SIGNAL, OHMIC]))
def test_the_activation_is_the_resolvent_of_the_diode(p, gamma, diode):
    phi = DiodeReLU(diode, gamma, 0.5)
    p = torch.tensor([p], dtype=torch.float64, requires_grad=True)
    v = phi(p)
    through = diode.current(0.5 - v)
    assert float((v - through / gamma).detach()) == pytest.approx(float(p.detach()), rel=1e-7, abs=1e-9)
    (slope,) = torch.autograd.grad(v, p)
    assert float(phi.slope(p.detach())) == pytest.approx(float(slope), rel=1e-9, abs=1e-12)
    assert 0 <= float(slope) <= 1


def test_the_diode_obeys_its_law():
    diode, volt = Diode(), torch.linspace(-5, 2, 200, dtype=torch.float64)
    i = diode.current(volt)
    rebuilt = diode.series_ohm * i + diode.emission_volt * torch.log1p(i / diode.saturation_ampere)
    forward = volt > -0.3  # below, the logarithm of what is left of I_s is lost in rounding
    torch.testing.assert_close(rebuilt[forward], volt[forward], rtol=1e-9, atol=1e-9)
    assert float(i[0]) == pytest.approx(-diode.saturation_ampere, rel=1e-6)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: DiodeNetworkCell(0, 1), "states = 0"),
        (lambda: DiodeNetworkCell(2, 1, least_leak=0.0), "least_leak = 0.0"),
        (lambda: Diode(saturation_ampere=-1.0), "saturation_ampere = -1.0"),
        (lambda: Diode(series_ohm=-1.0), "series_ohm = -1.0"),
        (lambda: Diode(series_ohm=0.0).current(torch.zeros(1)), "series resistance"),
        (lambda: Diode(kelvin=math.inf), "kelvin = inf"),
        (lambda: network().system(torch.zeros(2, 5)), r"expected \(batch, 3\)"),
    ],
)
def test_nonsense_is_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()
