"""Wire resistance to first order: its geometry, its error against the exact solution, its gradient, its switch."""

import pytest
import torch
from builders import NO_MISMATCH, drives, generator, layer_of, matrices, spec_with
from golden.registry import WIRES

from equilog.equilibrium import EquilibriumLayer
from equilog.hardware import Chip, Population, load_spec, program, without
from equilog.hardware.twin import static_system
from equilog.hardware.wire_drops import drops, first_order_conductance
from equilog.hardware.wires import effective_conductance


def pairs(n, columns, *lead):
    return 1e-6 + 2e-5 * torch.rand(*lead, 2, n, columns, dtype=torch.float64, generator=generator(0))


def exact(g, r_w, r_b):
    """The same pairs as an array of word lines 2k + s."""
    _, n, columns = g.shape
    lines = torch.stack([g[s, :, k] for k in range(columns) for s in range(2)])
    return effective_conductance(lines, r_w, r_b).view(columns, 2, n).permute(1, 2, 0)


def test_drops_are_the_sums_they_claim():
    g, r_w, r_b = pairs(4, 3), 2.0, 5.0
    m = 6
    for s in range(2):
        for i in range(4):
            for k in range(3):
                line = 2 * k + s
                word = sum((min(i, j) + 1) * g[s, j, k] for j in range(4))
                bit = sum((m - max(line, other)) * g[other % 2, i, other // 2] for other in range(m))
                assert float(drops(g, r_w, r_b)[s, i, k]) == pytest.approx(float(r_w * word + r_b * bit))


@pytest.mark.parametrize(("r_w", "r_b"), [(1.0, 1.0), (3.0, 0.0), (0.0, 3.0)])
def test_what_is_left_out_is_of_second_order(r_w, r_b):
    g = pairs(12, 9)

    def error(scale):
        return (first_order_conductance(g, scale * r_w, scale * r_b) - exact(g, scale * r_w, scale * r_b)).abs().max()

    assert float(error(1.0) / error(0.5)) == pytest.approx(4, rel=0.05)
    loss = (g - exact(g, r_w, r_b)).abs().max()
    assert error(1.0) < 0.02 * loss


def test_large_resistance_leaves_nothing_but_never_less():
    found = first_order_conductance(pairs(5, 4), 1e12, 1e12)
    assert bool((found >= 0).all())
    assert float(found.max()) < 1e-9


def test_gradients_of_first_and_second_order():
    g = (1e5 * pairs(3, 2, 2)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: first_order_conductance(x, 0.05, 0.03), (g,))
    assert torch.autograd.gradgradcheck(lambda x: first_order_conductance(x, 0.05, 0.03), (g,))


@pytest.mark.parametrize(("ohm", "of_weights", "of_states"), [(0.35, 1e-5, 1e-4), (2.0, 2e-4, 1e-3)])
def test_error_on_phase_change_memory(ohm, of_weights, of_states):
    """n = 32: what the wires take is 1e-3 and 1e-2 of a weight."""
    spec = load_spec("pcm").changed(crossbar={"wires": {"word_line_ohm": ohm, "bit_line_ohm": ohm}})
    chip = Chip(without(spec, "levels"), 1)
    solved, close = (program(matrices(32, 16), chip, wires=how) for how in ("exact", "first-order"))
    difference = torch.linalg.matrix_norm(close.effective - solved.effective)
    assert difference < of_weights * torch.linalg.matrix_norm(solved.effective)
    settle, played = EquilibriumLayer(on_failure="raise"), drives(20, 16)
    z, z_close = (settle(static_system(layer, played)) for layer in (solved, close))
    assert float((z - z_close).abs().max()) < of_states


def test_exact_unless_asked_otherwise_and_no_other_way():
    spec = spec_with("rram", NO_MISMATCH | {"crossbar.wires": WIRES})
    assert layer_of(spec, 3, 2).wired
    close = program(matrices(3, 2), Chip(spec, 0), wires="first-order")
    assert not close.wired
    assert close.load_siemens.shape == (3,)
    with pytest.raises(ValueError, match=r"wires = 'none': expected one of exact, first-order"):
        program(matrices(3, 2), Chip(spec, 0), wires="none")


def test_without_resistance_both_are_the_same():
    chip = Chip(spec_with("rram"), 3)
    one, other = (program(matrices(3, 2), chip, wires=how) for how in ("exact", "first-order"))
    assert torch.equal(one.transfer_siemens, other.transfer_siemens)
    assert torch.equal(one.load_siemens, other.load_siemens)


@pytest.mark.parametrize("how", ["exact", "first-order"])
def test_a_chip_alone_is_the_chip_in_its_population(how):
    spec = spec_with("rram", {"crossbar.wires": WIRES})
    crowd = program(matrices(4, 2), Population(spec, [3, 7]), wires=how)
    alone = program(matrices(4, 2), Chip(spec, 7), wires=how)
    torch.testing.assert_close(crowd.transfer_siemens[1], alone.transfer_siemens, rtol=1e-12, atol=0)
    torch.testing.assert_close(crowd.load_siemens[1], alone.load_siemens, rtol=1e-12, atol=0)
