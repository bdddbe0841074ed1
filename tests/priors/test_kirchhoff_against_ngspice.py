"""The nodal law: by hand where a hand can, against ngspice's operating points where not."""

import math

import pytest
import torch
from builders import normal

from equilog.equilibrium import EquilibriumLayer, Newton
from equilog.priors import (
    Bipolar,
    CurrentSource,
    Diode,
    Network,
    NoOperatingPointError,
    Resistor,
    VoltageSource,
    linearised,
)
from equilog.priors import kirchhoff as kirchhoff_module
from equilog.priors.kirchhoff import BRANCH_OHM, limited_exponential

AMPLIFIER = [
    VoltageSource("cc", "0", 5.0),
    Resistor("cc", "b", 430e3),
    Resistor("cc", "c", 2e3),
    Bipolar("c", "b", "e"),
    Resistor("e", "0", 100.0),
    Diode("c", "d", 1e-14, 1.3),
    Resistor("d", "0", 1e4),
    Bipolar("0", "c", "x", 3e-16, 60.0, 2.0, kind="pnp"),
    Resistor("cc", "x", 1e3),
]
BRIDGE = [
    CurrentSource("0", "p", 2e-3),
    VoltageSource("p", "q", 0.5),
    *(Diode(a, b) for a, b in (("p", "u"), ("q", "u"), ("0", "p"), ("0", "q"))),
    Resistor("u", "0", 4.7e3),
    Resistor("q", "0", 1e5),
]
SATURATED = [
    VoltageSource("cc", "0", 3.0),
    VoltageSource("in", "0", 2.5),
    Resistor("in", "b", 1e3),
    Resistor("cc", "c", 1e4),
    Bipolar("c", "b", "0", 1e-15, 80.0, 3.0),
]
MIRROR = [
    VoltageSource("cc", "0", 10.0),
    Resistor("cc", "r", 10e3),
    Bipolar("r", "r", "0"),
    Bipolar("o", "r", "0"),
    Resistor("cc", "o", 4e3),
    CurrentSource("o", "0", 1e-4),
]


def deck(network):
    """The same network for SPICE."""
    lines = ["* a given network"]
    for k, e in enumerate(network.elements):
        match e:
            case Resistor(a, b, ohm):
                lines.append(f"R{k} {a} {b} {ohm!r}")
            case CurrentSource(a, b, ampere):
                lines.append(f"I{k} {a} {b} DC {ampere!r}")
            case VoltageSource(plus, minus, volt):
                lines.append(f"V{k} {plus} {minus} DC {volt!r}")
            case Diode(a, b, i_s, n):
                lines += [f"D{k} {a} {b} DM{k}", f".model DM{k} D(IS={i_s!r} N={n!r})"]
            case Bipolar(c, b, e_, i_s, bf, br, kind):
                lines += [f"Q{k} {c} {b} {e_} QM{k}", f".model QM{k} {kind.upper()}(IS={i_s!r} BF={bf!r} BR={br!r})"]
    lines += [".options reltol=1e-9 abstol=1e-15 vntol=1e-12 temp=27 tnom=27", ".op", ".end"]
    return "\n".join(lines) + "\n"


@pytest.mark.ngspice
@pytest.mark.parametrize(
    "elements", [AMPLIFIER, BRIDGE, SATURATED, MIRROR], ids=["amplifier", "bridge", "sat", "mirror"]
)
def test_operating_points_are_those_of_ngspice(simulator, tmp_path, elements):
    network = Network(elements)
    (tmp_path / "op.cir").write_text(deck(network))
    (plot,) = simulator.run(tmp_path, "op.cir", "op.raw")
    z = network.operating_point()[0]
    expected = torch.tensor([plot[f"v({name})"][0] for name in network.nodes])
    torch.testing.assert_close(z[: len(expected)], expected, rtol=0, atol=1e-6)
    sources = [k for k, e in enumerate(elements) if isinstance(e, VoltageSource)]
    currents = torch.tensor([plot[f"i(v{k})"][0] for k in sources])
    torch.testing.assert_close(z[len(expected) :] / BRANCH_OHM, currents, rtol=1e-5, atol=1e-11)


def test_a_divider_by_hand():
    network = Network([VoltageSource("a", "0", 3.0), Resistor("a", "b", 1e3), Resistor("b", "0", 2e3)])
    torch.testing.assert_close(network.operating_point(), torch.tensor([[3.0, 2.0, -1e-3]]).double())
    assert network.nodes == ("a", "b")


def test_a_diode_carries_what_shockley_says():
    network = Network([CurrentSource("0", "a", 1e-3), Diode("a", "0", 1e-14, 1.5)], gmin_siemens=1e-30)
    v = 1.5 * network.thermal_volt * math.log1p(1e-3 / 1e-14)
    assert float(network.operating_point()[0]) == pytest.approx(v, abs=1e-12)
    assert network.thermal_volt == pytest.approx(0.0258650, abs=1e-6)  # 27 °C


def test_a_transistor_by_hand():
    """Forward active with 1 mA of emitter current: α = β/(1 + β) of it comes from the collector."""
    network = Network(
        [VoltageSource("c", "0", 5.0), Bipolar("c", "0", "e", 1e-15, 99.0), CurrentSource("e", "0", 1e-3)],
        gmin_siemens=1e-30,
    )
    ve, vc, current = (float(network.operating_point()[0][k]) for k in (1, 0, 2))
    assert vc == 5.0
    assert current == pytest.approx(-0.99e-3, rel=1e-9)
    assert ve == pytest.approx(-network.thermal_volt * math.log(0.99e-3 / 1e-15), rel=1e-9)


def test_driven_sources_are_inputs():
    network = Network(
        [
            VoltageSource("a", "0", 2.0, driven=True),
            Resistor("a", "b", 1e3),
            Resistor("b", "0", 1e3),
            CurrentSource("0", "b", 1e-3, driven=True),
            VoltageSource("c", "0", 7.0),
            Resistor("c", "b", 1e3),
        ]
    )
    x = normal(0, 4, 2)
    z = network.operating_point(x)
    torch.testing.assert_close(z[:, 0], 2 * x[:, 0])
    torch.testing.assert_close(z[:, 1], (2 * x[:, 0] + 7 + x[:, 1]) / 3)
    law = network.law()
    assert float(law.consistency(z, x).max()) < 1e-9
    # Linear, so its linear part is the whole law, wherever it is taken.
    torch.testing.assert_close(linearised(law, normal(1, 5), x[0]).solve(x), z)


def test_the_residual_is_finite_everywhere():
    law = Network(AMPLIFIER).law()
    for size in (1.0, 1e3, 1e8):
        assert bool(law(size * normal(0, 20, law.state.size)).isfinite().all())
    x = torch.tensor([-800.0, -1.0, 39.0, 40.0, 41.0, 1e6]).double().requires_grad_()
    y = limited_exponential(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(y[:4], torch.expm1(x[:4]))
    torch.testing.assert_close(slope[3:], torch.full((3,), math.exp(40.0)).double())


def test_gradients():
    law = Network(AMPLIFIER).law()
    z = (0.3 * normal(0, 2, law.state.size)).requires_grad_()
    assert torch.autograd.gradcheck(law, (z,), atol=1e-6)


def test_currents_of_a_closed_network_sum_to_what_ground_takes():
    """Kirchhoff's law of the whole: without elements at ground nothing is lost, whatever the voltages are."""
    inner = [Resistor("a", "b", 10.0), Diode("b", "c"), Bipolar("a", "b", "c"), CurrentSource("c", "a", 1e-3)]
    law = Network([*inner, Resistor("a", "0", 1e9)]).law()
    z = 0.4 * normal(0, 6, 3)
    torch.testing.assert_close(law(z).sum(1), z[:, 0] / 1e9, rtol=1e-6, atol=1e-15)


def test_the_equilibrium_layer_settles_a_clipper():
    network = Network(
        [
            CurrentSource("0", "a", 2e-3, driven=True),
            Resistor("a", "0", 1e3),
            Diode("a", "b", 1e-6),
            Resistor("b", "0", 500.0),
        ]
    )
    law, x = network.law(), torch.tensor([[-1.0], [0.5], [1.0]]).double()
    layer = EquilibriumLayer(Newton(), on_failure="raise")
    z = layer.fixed_point(law.as_map(300.0), torch.zeros(3, 2).double(), x)
    torch.testing.assert_close(z, network.operating_point(x), rtol=0, atol=1e-6)


def test_where_newton_alone_fails_stepping_finds_it(monkeypatch):
    network, plain = Network(BRIDGE), kirchhoff_module._newton
    expected = network.operating_point()
    calls = []

    def fails(at_most):
        def newton(residual, z, steps=120):
            calls.append(residual.keywords)
            return None if len(calls) <= at_most else plain(residual, z, steps)

        return newton

    monkeypatch.setattr(kirchhoff_module, "_newton", fails(1))  # then a conductance from every node
    torch.testing.assert_close(network.operating_point(), expected)
    assert calls[1]["conductance"] == 1e-2
    calls.clear()
    monkeypatch.setattr(kirchhoff_module, "_newton", fails(2))  # then the sources
    torch.testing.assert_close(network.operating_point(), expected)
    assert calls[2]["level"] == 0.05
    monkeypatch.setattr(kirchhoff_module, "_newton", fails(10**6))
    with pytest.raises(NoOperatingPointError, match="sample 0: no operating point"):
        network.operating_point()


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        ([Resistor("a", "b", 1.0)], "no element touches ground, node '0'; there are a, b"),
        ([Resistor("a", "0", 0.0)], "expected ohm above 0"),
        ([Diode("a", "0", -1.0)], "expected saturation_ampere above 0"),
        ([Bipolar("a", "b", "0", kind="mos")], "expected kind 'npn' or 'pnp'"),
    ],
)
def test_networks_that_are_none_are_refused(elements, message):
    with pytest.raises(ValueError, match=message):
        Network(elements)
