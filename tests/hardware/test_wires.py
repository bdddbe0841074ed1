"""Wire resistance: Kirchhoff's laws written out densely, badcrossbar's answer, hand-worked arrays, gradcheck."""

import numpy as np
import pytest
import torch
from builders import generator
from torch.autograd import gradcheck

from equilog.hardware import wires
from equilog.hardware.wires import effective_conductance, loaded_conductance


def conductances(rows, columns, seed=0, low=1e-6, high=1e-4):
    return low + (high - low) * torch.rand(rows, columns, dtype=torch.float64, generator=generator(seed))


def nodal(g, r_w, r_b):
    """Every crossing's two equations, written down one by one; one dense solve for each driver."""
    rows, columns = g.shape
    result = np.empty((rows, columns))
    word = {(i, j): 2 * (i * columns + j) for i in range(rows) for j in range(columns)}
    k, right = np.zeros((2 * g.size, 2 * g.size)), np.zeros((2 * g.size, rows))
    for (i, j), w in word.items():
        b = w + 1
        # currents that leave the word-line side of the crossing
        k[w, w] += 1 / r_w + g[i, j]
        k[w, b] -= g[i, j]
        if j == 0:
            right[w, i] = 1 / r_w
        else:
            k[w, word[i, j - 1]] -= 1 / r_w
        if j < columns - 1:
            k[w, w] += 1 / r_w
            k[w, word[i, j + 1]] -= 1 / r_w
        # and its bit-line side; the virtual ground is at zero
        k[b, b] += 1 / r_b + g[i, j]
        k[b, w] -= g[i, j]
        if i < rows - 1:
            k[b, word[i + 1, j] + 1] -= 1 / r_b
        if i > 0:
            k[b, b] += 1 / r_b
            k[b, word[i - 1, j] + 1] -= 1 / r_b
    v = np.linalg.solve(k, right)
    for j in range(columns):
        result[:, j] = v[word[rows - 1, j] + 1] / r_b
    return torch.from_numpy(result)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 5), (5, 1), (4, 7), (9, 3), (12, 12), (3, 40), (40, 3)])
@pytest.mark.parametrize(("r_w", "r_b"), [(2.5, 2.5), (100.0, 0.3), (0.01, 40.0)])
def test_kirchhoff(rows, columns, r_w, r_b):
    g = conductances(rows, columns)
    expected = nodal(g.numpy(), r_w, r_b)
    assert torch.allclose(effective_conductance(g, r_w, r_b), expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize(("r_w", "r_b"), [(30.0, 0.0), (0.0, 30.0)])
def test_ideal_lines_are_the_limit_of_good_ones(r_w, r_b):
    g = conductances(5, 4)
    expected = nodal(g.numpy(), max(r_w, 1e-6), max(r_b, 1e-6))
    assert torch.allclose(effective_conductance(g, r_w, r_b), expected, rtol=1e-7, atol=1e-15)


def test_ideal_wires_change_nothing():
    g = conductances(3, 2)
    assert torch.equal(effective_conductance(g, 0, 0), g)


def test_one_device_is_in_series_with_both_its_segments():
    found = effective_conductance(torch.tensor([[1e-3]], dtype=torch.float64), 200.0, 300.0)
    assert float(found) == pytest.approx(1 / 1500, rel=1e-12)


def test_a_single_word_line_loses_along_the_way_and_bit_lines_are_apart():
    """By hand, ideal bit lines: V_1 = V_0 of a ladder 1 V ─100─┬─100─┬, 1 kΩ to ground at each."""
    found = effective_conductance(torch.full((1, 2), 1e-3, dtype=torch.float64), 100.0, 0.0)
    first = (1000 * 1100 / 2100) / (100 + 1000 * 1100 / 2100)
    assert found.tolist() == [pytest.approx([first / 1000, first / 1100])]


def test_the_crossing_nearest_to_driver_and_ground_loses_least():
    found = effective_conductance(torch.full((6, 8), 1e-4, dtype=torch.float64), 10.0, 10.0)
    assert found.argmax() == 5 * 8  # last row, first column
    assert found.argmin() == 7  # first row, last column
    assert (found < 1e-4).all()


def test_a_row_of_nothing_conducts_nothing_but_leaks_nowhere():
    g = conductances(4, 4)
    g[2] = 0
    found = effective_conductance(g, 5.0, 5.0)
    assert (found[2].abs() < 1e-18).all()
    assert torch.allclose(found, nodal(g.numpy(), 5.0, 5.0), rtol=1e-9, atol=1e-18)


@pytest.mark.parametrize(("r_w", "r_b"), [(0.2, 0.3), (0.4, 0.0), (0.0, 0.4)])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 4), (5, 2), (2, 35)])
def test_gradient(rows, columns, r_w, r_b):
    # In units where conductances are near 1: gradcheck's steps are absolute.
    g = conductances(rows, columns, low=0.1, high=1.0).requires_grad_()
    assert gradcheck(lambda x: effective_conductance(x, r_w, r_b), (g,), eps=1e-5, atol=1e-8, rtol=1e-6)


def test_gradient_in_siemens_and_in_single_precision():
    g = conductances(6, 5).requires_grad_()
    weights = torch.randn(6, 5, dtype=torch.float64, generator=generator(1))
    (exact,) = torch.autograd.grad((effective_conductance(g, 5, 5) * weights).sum(), g)
    step = torch.randn(6, 5, dtype=torch.float64, generator=generator(2)) * 1e-9
    with torch.no_grad():
        up, down = effective_conductance(g + step, 5, 5), effective_conductance(g - step, 5, 5)
    assert float(((up - down) * weights).sum() / 2) == pytest.approx(float((exact * step).sum()), rel=1e-6)
    single = g.detach().float().requires_grad_()
    out = effective_conductance(single, 5, 5)
    out.backward(weights.float())
    assert out.dtype == single.grad.dtype == torch.float32
    assert torch.allclose(single.grad.double(), exact, rtol=1e-4)


def test_a_second_derivative_is_refused():
    g = conductances(2, 2).requires_grad_()
    (first,) = torch.autograd.grad(effective_conductance(g, 5, 5).square().sum(), g, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


@pytest.mark.parametrize("r", [1.0, 10.0])
def test_badcrossbar(r):
    """Joksas & Mehonic, SoftwareX 12 (2020) 100617; not a declared dependency."""
    badcrossbar = pytest.importorskip("badcrossbar", reason="pip install badcrossbar (needs libcairo2-dev)")
    g = conductances(16, 16)
    their = badcrossbar.compute(np.eye(16), 1 / g.numpy(), r_i_word_line=r, r_i_bit_line=2 * r).currents.output
    found = effective_conductance(g, r, 2 * r)
    assert torch.allclose(found, torch.from_numpy(their), rtol=1e-9, atol=0)
    assert ((found / g - 1).abs() > 1e-3).any()


@pytest.mark.parametrize(
    ("g", "r_w", "r_b", "message"),
    [
        (torch.ones(3), 1.0, 1.0, "shape"),
        (torch.ones(0, 3), 1.0, 1.0, "shape"),
        (torch.tensor([[-1.0]]), 1.0, 1.0, "negative"),
        (torch.tensor([[torch.nan]]), 1.0, 1.0, "nan"),
        (torch.tensor([[torch.inf]]), 0.0, 0.0, "inf"),
        (torch.ones(2, 2), -1.0, 1.0, "r_wordline_ohm"),
        (torch.ones(2, 2), 1.0, float("nan"), "r_bitline_ohm"),
    ],
)
def test_what_makes_no_sense_is_refused(g, r_w, r_b, message):
    with pytest.raises(ValueError, match=message):
        effective_conductance(g, r_w, r_b)


def test_load_is_symmetric_and_draws_nothing_from_ports_that_are_all_alike():
    g = conductances(7, 5)
    effective, load = loaded_conductance(g, 30.0, 20.0)
    assert torch.allclose(load, load.T, rtol=1e-9, atol=0)
    assert torch.allclose(load.sum(1), effective.sum(0), rtol=1e-9, atol=0)
    assert bool((load - load.diag().diag() < 0).any())


@pytest.mark.parametrize(("r_w", "r_b"), [(0.2, 0.3), (0.4, 0.0), (0.0, 0.4)])
def test_gradient_of_the_load(r_w, r_b):
    g = conductances(4, 3, low=0.1, high=1.0).requires_grad_()
    assert gradcheck(lambda x: loaded_conductance(x, r_w, r_b), (g,), eps=1e-5, atol=1e-8, rtol=1e-6)


def test_several_arrays_at_once_are_each_by_itself():
    g = torch.stack([conductances(6, 4, seed) for seed in range(3)]).requires_grad_()
    together = loaded_conductance(g, 5.0, 7.0)
    (grad,) = torch.autograd.grad(together[0].sum() + together[1].square().sum(), g)
    for k in range(3):
        one = g[k].detach().requires_grad_()
        alone = loaded_conductance(one, 5.0, 7.0)
        assert all(torch.allclose(a[k], b, rtol=1e-12, atol=0) for a, b in zip(together, alone))
        (own,) = torch.autograd.grad(alone[0].sum() + alone[1].square().sum(), one)
        assert torch.allclose(grad[k], own, rtol=1e-10, atol=0)


def test_short_of_memory_it_computes_again_and_finds_the_same(monkeypatch):
    def answer():
        g = conductances(23, 6).requires_grad_()
        effective, load = loaded_conductance(g, 5.0, 7.0)
        (grad,) = torch.autograd.grad((effective[:, 0] * effective[:, 1]).sum() + load.square().sum(), g)
        return effective.detach(), load.detach(), grad

    rich = answer()
    monkeypatch.setattr(wires, "MEMORY", 100)
    followed = []
    seen = wires._Array._seen
    monkeypatch.setattr(wires._Array, "_seen", lambda self, i, x: followed.append(i) or seen(self, i, x))
    assert all(torch.equal(a, b) for a, b in zip(answer(), rich))
    assert len(followed) > 23


def test_threads_are_as_they_were():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        effective_conductance(conductances(3, 2), 1.0, 1.0)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
