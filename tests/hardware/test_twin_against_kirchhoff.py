"""The static twin rests where Kirchhoff's laws say, solved here in volts and amperes without the library's formula."""

import numpy as np
import pytest
import torch
from builders import NO_MISMATCH, drives, layer_of, spec_with
from scipy.optimize import root

from equilog.cells import AffineSystem, Tanh
from equilog.equilibrium import EquilibriumLayer
from equilog.hardware.twin import static_system

CHANGES = {
    "rram": {},
    "board": {},
    "ideal": {},
    "low gain": {"amplifier.dc_gain": 50.0},
    "large offsets": {"amplifier.offset_sigma_volt": 0.02, "activation.offset_sigma_volt": 0.05},
    "unlike scales": {"activation.v_scale_volt": 0.052, "dac.full_scale_volt": 0.3},
}


def resting_volts(layer, played):
    """Solve for virtual grounds x and outputs v of one sample: n node equations, n amplifier equations."""
    spec, n = layer.spec, layer.states
    g_plus, g_minus = layer.g_plus_siemens.numpy(), layer.g_minus_siemens.numpy()
    r_f, gain = float(layer.r_feedback_ohm), layer.dc_gain.numpy()
    v_a, v_s = float(spec.activation.v_scale_volt), float(spec.activation.v_out_volt)
    reference = float(spec.dac.full_scale_volt)

    def activation(v):
        return v_s * layer.act_gain.numpy() * np.tanh((v - layer.act_offset_volt.numpy()) / v_a)

    def imbalance(unknown):
        x, v = unknown[:n], unknown[n:]
        source = np.concatenate([activation(v), played * reference, [reference]])
        # Device G+ of row i hangs between the negative polarity of its source and x_i, G- on the positive one.
        into_x = (g_plus * (-source - x[:, None])).sum(1) + (g_minus * (source - x[:, None])).sum(1)
        into_x = into_x + (v - x) / r_f
        amplifier = v - gain * (layer.amp_offset_volt.numpy() - x)
        return np.concatenate([into_x * r_f / v_a, amplifier / gain / v_a])

    found = root(imbalance, np.zeros(2 * n), tol=1e-13)
    assert np.abs(imbalance(found.x)).max() < 1e-10
    return found.x[n:], activation(found.x[n:])


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("n", [1, 4, 9])
def test_rests_where_the_node_equations_are_solved(name, n):
    spec = spec_with(name if not CHANGES[name] and name != "rram" else "rram", CHANGES[name])
    layer, played = layer_of(spec, n, 3, seed=n), drives(3, 3, n)
    problem = static_system(layer, played)
    p = EquilibriumLayer(on_failure="raise").rest(problem)
    for k in range(len(played)):
        v, s = resting_volts(layer, played[k].numpy())
        np.testing.assert_allclose(p[k] * float(spec.activation.v_scale_volt), v, rtol=1e-8, atol=1e-10)
        z = problem.activation(p)[k]
        np.testing.assert_allclose(z * float(spec.activation.v_out_volt), s, rtol=1e-8, atol=1e-10)


def test_with_next_to_no_flaws_the_chip_is_the_model():

    layer, played = layer_of(spec_with("ideal", NO_MISMATCH | {"amplifier.dc_gain": 1e14}), 5, 2), drives(4, 2)
    w, u, b = layer.target[:, :5], layer.target[:, 5:7], layer.target[:, 7]
    ideal = EquilibriumLayer()(AffineSystem(w, played @ u.T + b, Tanh()))
    torch.testing.assert_close(EquilibriumLayer()(static_system(layer, played)), ideal, atol=1e-9, rtol=0)
