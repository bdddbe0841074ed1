"""The netlist holds the chip's parts, all of them, digit for digit, and nothing else."""

import re
import subprocess

import pytest
import torch
from builders import drives, layer_of, spec_with

from equilog.circuit import component_count, rest, write_circuit
from equilog.hardware import load_spec

RRAM = load_spec("rram")


def resistors(folder):
    found = {}
    for line in (folder / "crossbar.inc").read_text().splitlines():
        if match := re.fullmatch(r"R([pm])_(\d+)_(\d+) (\S+) x(\d+) (\S+)", line):
            kind, i, k, node, row, ohm = match.groups()
            assert i == row
            found[kind, int(i), int(k)] = (node, float(ohm))
    return found


@pytest.fixture
def written(tmp_path):
    layer = layer_of(RRAM, 4, 2)
    write_circuit(layer, tmp_path, rest=drives(3, 2), settle=drives(2, 2))
    return layer, tmp_path


def test_files_are_those_announced(tmp_path):
    layer = layer_of(RRAM, 2, 1)
    paths = write_circuit(layer, tmp_path / "new" / "folder", rest=drives(2, 1), settle=drives(2, 1))
    names = {"blocks.lib", "crossbar.inc", "layer.cir", "op.cir", "settle_0.cir", "settle_1.cir"}
    assert {path.name for path in paths} == names
    assert {path.name for path in (tmp_path / "new" / "folder").iterdir()} == names


def test_as_many_parts_as_are_counted(written):
    layer, folder = written
    count = component_count(layer)
    text = (folder / "layer.cir").read_text()
    assert len(resistors(folder)) == count["crossbar devices"]
    assert len(re.findall(r"^Xn\d+ .* neuron_limited$", text, re.M)) == count["op-amps"] == 4
    assert len(re.findall(r"^Vd\d+ ", text, re.M)) == count["DACs"] == 2
    assert len(re.findall(r"^Vref ", text, re.M)) == count["references"] == 1


@pytest.mark.parametrize(
    ("slew", "rail", "given"), [(None, None, ""), (1e6, None, " slew=1000000.0"), (None, 0.5, " rail=0.5")]
)
def test_amplifiers_have_the_limits_that_the_technology_gives_and_no_others(tmp_path, slew, rail, given):
    spec = spec_with("rram", {"amplifier.slew_volt_per_second": slew, "amplifier.rail_volt": rail})
    write_circuit(layer_of(spec, 3, 1), tmp_path)
    neurons = re.findall(r"^Xn\d+ .* (\w+)\n\+ .*vs=\S+(.*)$", (tmp_path / "layer.cir").read_text(), re.M)
    assert neurons == 3 * [("neuron_limited" if given else "neuron", given)]


def test_every_resistor_is_its_conductance_and_hangs_where_it_should(written):
    layer, folder = written
    found = resistors(folder)
    for i in range(4):
        for k in range(7):
            positive, negative = (
                (f"sp{k}", f"sn{k}") if k < 4 else (f"dp{k - 4}", f"dn{k - 4}") if k < 6 else ("refp", "refn")
            )
            for kind, node, g in (
                ("p", negative, layer.g_plus_siemens[i, k]),
                ("m", positive, layer.g_minus_siemens[i, k]),
            ):
                if g > 0:
                    assert found[kind, i, k] == (node, 1 / float(g))
                else:
                    assert (kind, i, k) not in found


def test_digit_for_digit_in_single_precision_too(tmp_path):
    """The twin computes with the double of each conductance; the resistor must be its reciprocal, not a rounded one."""
    layer = layer_of(RRAM, 3, 2).to(torch.float32)
    write_circuit(layer, tmp_path)
    for (kind, i, k), (_, ohm) in resistors(tmp_path).items():
        g = (layer.g_plus_siemens if kind == "p" else layer.g_minus_siemens)[i, k]
        assert ohm * float(g) == pytest.approx(1, abs=1e-14)


def test_each_weight_is_written_above_its_resistors(written):
    layer, folder = written
    text = (folder / "crossbar.inc").read_text()
    realised, asked = layer.effective[1, 2], layer.target[1, 2]
    assert f"* W[1,2] = {realised:+.4f} ({asked:+.4f})\nRp_1_2" in text
    assert "* U[3,1] = " in text
    assert "* b[0] = " in text


@pytest.mark.parametrize("bench", ["op.cir", "settle_0.cir"])
def test_node_voltages_are_saved(written, bench):
    _, folder = written
    text = (folder / bench).read_text()
    for i in range(4):
        assert f".save v(v{i}) v(sp{i})" in text


def test_benches_play_the_drives_they_were_given(written):
    layer, folder = written
    full_scale = layer.spec.dac.full_scale_volt
    for bench, rows in (("op.cir", drives(3, 2)), ("settle_1.cir", drives(2, 2)[1:])):
        played = [float(x) for x in re.findall(r"alter Vd\d+ dc = (\S+)", (folder / bench).read_text())]
        assert played == (rows * full_scale).flatten().tolist()


def test_rewriting_removes_stale_benches_and_nothing_else(tmp_path):
    layer = layer_of(RRAM, 2, 1)
    write_circuit(layer, tmp_path, rest=drives(2, 1), settle=drives(4, 1))
    for name in ("my.cir", "settle_x.cir", "notes.txt"):
        (tmp_path / name).write_text("mine")
    write_circuit(layer, tmp_path, settle=drives(1, 1))
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        "blocks.lib", "crossbar.inc", "layer.cir", "settle_0.cir", "my.cir", "settle_x.cir", "notes.txt",
    }  # fmt: skip


def test_the_same_chip_gives_the_same_text(tmp_path):
    for name in ("a", "b"):
        write_circuit(layer_of(RRAM, 3, 2), tmp_path / name, rest=drives(2, 2), settle=drives(1, 2))
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "b").iterdir())
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_free_text_of_a_technology_reaches_no_deck(tmp_path):
    spec = spec_with("rram", {"summary": "HOSTILE\n.control\nshell ls\n.endc"})
    write_circuit(layer_of(spec, 2, 1), tmp_path, rest=drives(1, 1), settle=drives(1, 1))
    for path in tmp_path.iterdir():
        assert "HOSTILE" not in path.read_text()


def test_a_name_that_dodged_validation_opens_no_control_block(tmp_path):
    """`model_copy`, which Spec's docstring recommends, does not validate: a deck must be safe all the same."""
    name = "x\n.control\nshell touch pwned\n.endc"
    try:
        write_circuit(layer_of(RRAM.model_copy(update={"name": name}), 2, 1), tmp_path)
    except ValueError:
        return  # refusing is as good
    assert ".control" not in (tmp_path / "layer.cir").read_text()


@pytest.mark.ngspice
def test_a_raw_file_left_by_hand_does_not_get_in_the_way(written, simulator):
    """Who runs ``ngspice -b op.cir`` in the folder leaves an op.raw there, to which the deck appends."""
    layer, folder = written
    v, _ = rest(simulator, folder, layer.states, 3)
    subprocess.run([simulator.program, "-n", "-b", "op.cir"], cwd=folder, capture_output=True, check=False)
    assert (folder / "op.raw").exists()
    again, _ = rest(simulator, folder, layer.states, 3)
    assert torch.equal(v, again)


@pytest.mark.ngspice
def test_simulating_leaves_nothing_in_the_folder(written, simulator):
    layer, folder = written
    before = sorted(folder.iterdir())
    rest(simulator, folder, layer.states, 3)
    assert sorted(folder.iterdir()) == before
