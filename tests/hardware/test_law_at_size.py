"""A law of 256 states alone: programmed, at rest, in noise and in ngspice without waiting for it."""

import time

import pytest
import torch
from builders import apart_cell, chain_law, drives, spec_with

from equilog.cells import CircuitCell
from equilog.circuit import Ngspice, component_count, rest, write_circuit
from equilog.devices import verify
from equilog.hardware import Chip, Population, load_spec, program_cell
from equilog.hardware.noise import noise_at_rest
from equilog.hardware.rest import at_rest
from equilog.hardware.transient import Transient
from equilog.hardware.twin import dac
from equilog.model import HybridDEQ
from equilog.priors import Grid, poisson

SIDE = 16
LAW = poisson(Grid((SIDE, SIDE), spacing_metre=1 / SIDE), unit="V")
PATTERNS = torch.randn(SIDE**2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def exact(d):
    return LAW.solve((d @ PATTERNS.T).unflatten(1, (SIDE, SIDE))).flatten(1)


@pytest.fixture(scope="module")
def grid():
    """Cell, drives and the law's answer in units of the state."""
    d = torch.round(drives(3, 4) * 32767) / 32767
    answer = exact(d)
    coupling = LAW.coupling(scale=float(answer.abs().max()), drives=PATTERNS)
    cell = CircuitCell(SIDE**2, 4, fixed=coupling, apart=True).double()
    return cell, d, answer / answer.abs().max()


def test_resistors_are_the_grids_links_and_its_sources(grid):
    layer = program_cell(grid[0], Chip(load_spec("ideal"), 0))
    count = component_count(layer)
    # Both directions of 2·16·15 links; the sources of every node but where rounding left none.
    assert count["fixed resistors"] == 2 * 2 * SIDE * (SIDE - 1) + 4 * SIDE**2
    assert (count["crossbar devices"], count["activation blocks"], layer.devices) == (0, 0, 0)


@pytest.mark.ngspice
def test_it_rests_at_the_laws_answer_and_where_ngspice_does(grid, simulator: Ngspice, tmp_path):
    cell, d, answer = grid
    began = time.process_time()
    layer = program_cell(cell, Chip(load_spec("ideal"), 0))
    found = at_rest(layer, dac(layer, d))
    # 0.3 s on one core; one eigenvalue problem, as all samples have the same poles.
    assert time.process_time() - began < 3
    assert (found.z - answer).abs().max() < 1e-5  # an open-loop gain of 1e9, and a margin of 0.02
    write_circuit(layer, tmp_path, rest=dac(layer, d))
    v, _ = rest(simulator, tmp_path, SIDE**2, 3)
    assert (v / float(layer.spec.activation.v_scale_volt) - found.p).abs().max() < 1e-7


@pytest.mark.ngspice
def test_the_ladder_watches_a_stiff_law_long_enough(simulator: Ngspice):
    side = 14  # 870 time constants to 1e-9
    law = poisson(Grid((side, side), spacing_metre=1 / side), unit="V")
    d = drives(1, 1, 3)
    pattern = torch.ones(side**2, 1, dtype=torch.float64)
    scale = float(law.solve(torch.ones(1, side, side, dtype=torch.float64)).max())
    coupling = law.coupling(scale=scale, drives=pattern)
    cell = CircuitCell(side**2, 1, fixed=coupling, apart=True).double()
    model = HybridDEQ(torch.nn.Identity(), cell, torch.nn.Identity())
    ladder = verify(model, Chip(load_spec("rram"), 1), d, rungs=("twin", "rest"), simulator=simulator)
    assert ladder.report.verified
    assert all(rung.max_error <= rung.tolerance for rung in ladder.report.rungs if rung.tolerance is not None)


def test_samples_of_one_circuit_share_poles_and_noise():
    """As one by one; where hidden neurons have slopes of their own nothing is shared, and chips never are."""
    for hidden in (0, 2):
        cell = apart_cell(4 + hidden, 3, chain_law(4 + hidden, 3, 4, linear=4)).requires_grad_(False)
        spec, seeds = spec_with("rram", {"amplifier.rail_volt": None}), (1, 2)
        layer, played = program_cell(cell, Chip(spec, 1)), drives(5, 3)
        v = at_rest(layer, played).p * float(spec.activation.v_scale_volt)
        moving, noise = Transient(layer, played), noise_at_rest(layer, v)
        abscissa = moving.spectral_abscissa(v)
        one = [Transient(layer, played[k : k + 1]).spectral_abscissa(v[k : k + 1])[0] for k in range(5)]
        torch.testing.assert_close(abscissa, torch.stack(one), rtol=1e-9, atol=0)
        each = [noise_at_rest(layer, v[k : k + 1]) for k in range(5)]
        torch.testing.assert_close(noise.rms_volt, torch.cat([n.rms_volt for n in each]), rtol=1e-9, atol=0)
        torch.testing.assert_close(noise.residual.shape, torch.Size([5]))
        assert noise.draw(torch.Generator().manual_seed(0)).shape == (5, 4 + hidden)
        assert (abscissa.unique().numel() == 1) == (hidden == 0)
        crowd = program_cell(cell, Population(spec, seeds))
        every = noise_at_rest(crowd, v.expand(2, *v.shape))
        torch.testing.assert_close(every.rms_volt[0], noise.rms_volt, rtol=1e-6, atol=0)
        assert not torch.allclose(every.rms_volt[1], every.rms_volt[0], rtol=1e-6, atol=0)


def test_a_sample_at_its_rail_is_another_circuit():
    cell = apart_cell(4, 3, chain_law(4, 3, 4, linear=4)).requires_grad_(False)
    layer = program_cell(cell, Chip(spec_with("rram", {"amplifier.rail_volt": 0.05}), 1))
    v = torch.tensor([[0.01, 0.0, 0.0, 0.0], [0.05, 0.0, 0.0, 0.0]], dtype=torch.float64)
    moving = Transient(layer, drives(2, 3))
    own = torch.stack([Transient(layer, drives(1, 3)).spectral_abscissa(row[None])[0] for row in v])
    torch.testing.assert_close(moving.spectral_abscissa(v), own, rtol=1e-9, atol=0)
    assert own[0] != own[1]
