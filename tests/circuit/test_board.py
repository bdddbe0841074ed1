"""A board holds the layer's own resistors and nothing hangs loose; its parts settle where the twin does."""

import csv
import io
import math
import re
import sys

import pytest
import torch
from builders import layer_of, spec_with

from equilog.circuit import write_circuit
from equilog.circuit.board import design, write_board
from equilog.circuit.board.bom import bill, block_rows, csv_text, power_watt
from equilog.circuit.board.catalogue import ADC, resistance_code, resistor
from equilog.circuit.board.kicad import netlist
from equilog.hardware import Chip, Conditions, Population, load_spec, program, without
from equilog.names import UserError

BOARD = load_spec("board")


def read(text):
    """S-expressions as nested lists of strings."""
    tokens = re.findall(r'"(?:[^"\\]|\\.)*"|[()]|[^\s()"]+', text)
    stack = [[]]
    for token in tokens:
        if token == "(":
            stack.append([])
        elif token == ")":
            done = stack.pop()
            stack[-1].append(done)
        else:
            stack[-1].append(re.sub(r"\\(.)", r"\1", token[1:-1]) if token[0] == '"' else token)
    assert len(stack) == 1
    assert len(stack[0]) == 1
    return stack[0][0]


def entry(tree, *names):
    for name in names:
        (tree,) = [branch for branch in tree if isinstance(branch, list) and branch[0] == name]
    return tree


def all_of(tree, name):
    return [branch for branch in tree if isinstance(branch, list) and branch[0] == name]


class Kicad:
    """What the netlist says, by reader alone."""

    def __init__(self, text):
        self.tree = read(text)
        assert self.tree[:2] == ["export", ["version", "E"]]
        self.components = {}
        for comp in all_of(entry(self.tree, "components"), "comp"):
            fields = {entry(f, "name")[1]: f[2] for f in all_of(entry(comp, "fields"), "field")}
            ref = entry(comp, "ref")[1]
            assert ref not in self.components
            self.components[ref] = {
                "value": entry(comp, "value")[1],
                "footprint": entry(comp, "footprint")[1],
                "stamp": entry(comp, "tstamps")[1],
                **fields,
            }
        self.nets, self.net_of, self.functions, self.types = {}, {}, {}, {}
        for net in all_of(entry(self.tree, "nets"), "net"):
            name = entry(net, "name")[1]
            assert name not in self.nets
            nodes = [(entry(n, "ref")[1], entry(n, "pin")[1]) for n in all_of(net, "node")]
            self.nets[name] = nodes
            for node, pin in zip(all_of(net, "node"), nodes):
                assert pin not in self.net_of, f"{pin} is on two nets"
                self.net_of[pin] = name
                self.types[pin] = entry(node, "pintype")[1]
                functions = all_of(node, "pinfunction")
                self.functions[pin] = functions[0][1] if functions else ""

    def pins(self, ref):
        """Pin name to nets of a part."""
        found = {}
        for (owner, number), name in self.functions.items():
            if owner == ref:
                found.setdefault(name, []).append(self.net_of[owner, number])
        return found

    def by_value(self, value):
        return [ref for ref, comp in self.components.items() if comp["value"] == value]


@pytest.fixture(scope="module")
def layer():
    return layer_of(BOARD, 8, 4)


@pytest.fixture(scope="module")
def board(layer):
    return design(layer)


@pytest.fixture(scope="module")
def kicad(board):
    return Kicad(netlist(board))


def ohm_of(code):
    """The reverse of the makers' code, written apart from it."""
    whole, letter, part = re.fullmatch(r"(\d+)([RKM])(\d*)", code).groups()
    return float(f"{whole}.{part or 0}e{ {'R': 0, 'K': 3, 'M': 6}[letter] }")


PADS = {
    "SOIC-14": 14, "SOIC-8": 8, "SOT-363": 6, "SOT-23": 3, "TSSOP-16": 16, "LQFP-64": 64, "R_0805": 2, "C_0603": 2,
    "C_0805": 2, "PinHeader_1x03": 3, "PinHeader_2x07": 14,
}  # fmt: skip


def test_every_pin_of_every_footprint_is_on_exactly_one_net(kicad):
    for ref, comp in kicad.components.items():
        name = comp["footprint"].partition(":")[2]
        (pads,) = [count for start, count in PADS.items() if name.startswith(start)]
        assert {number for owner, number in kicad.net_of if owner == ref} == {str(k) for k in range(1, pads + 1)}, ref
    assert {owner for owner, _ in kicad.net_of} == set(kicad.components)


def test_a_net_has_two_ends_or_is_marked_open(kicad):
    for name, nodes in kicad.nets.items():
        if len(nodes) == 1:
            ref, number = nodes[0]
            assert name == f"unconnected-({ref}-{kicad.functions[nodes[0]]}-Pad{number})"
            assert kicad.types[nodes[0]] == "no_connect"
        else:
            assert not name.startswith("unconnected")


def test_what_is_left_open_may_be(kicad):
    """Outputs only: an input left open, of an op-amp above all, picks up what it likes."""
    left = {kicad.functions[nodes[0]] for nodes in kicad.nets.values() if len(nodes) == 1}
    assert left == {"FRSTDATA", "VOUTE", "VOUTF", "VOUTG", "VOUTH"}


def test_op_amps_are_fed_and_each_has_feedback(kicad):
    amps = kicad.by_value("OPA4192") + kicad.by_value("OPA2192")
    assert len(amps) == 8 + 4 + 1
    for ref in amps:
        pins = kicad.pins(ref)
        assert pins["V+"] == ["+5V"]
        assert pins["V-"] == ["-5V"]
        for section in "ABCD" if kicad.components[ref]["value"] == "OPA4192" else "AB":
            (out,), (minus,) = pins[f"OUT {section}"], pins[f"IN- {section}"]
            assert any({out, minus} <= set(between) for between in two_ended(kicad))
    for ref in kicad.by_value("LM311"):
        pins = kicad.pins(ref)
        assert (pins["V+"], pins["V-"], pins["GND"], pins["OUT"]) == (["+5V"], ["-5V"], ["GND"], ["STILL"])


def two_ended(kicad, letters="RC"):
    return [(kicad.net_of[ref, "1"], kicad.net_of[ref, "2"]) for ref in kicad.components if ref[0] in letters]


def test_no_two_outputs_drive_one_net(kicad):
    for name, nodes in kicad.nets.items():
        assert sum(kicad.types[node] == "output" for node in nodes) <= 1, name


def test_as_many_decoupling_capacitors_as_supply_pins(kicad):
    on = {"+5V": 0, "-5V": 0}
    for ref in kicad.by_value("100n"):
        ends = {kicad.net_of[ref, "1"], kicad.net_of[ref, "2"]}
        assert "GND" in ends
        for net in on:
            on[net] += net in ends
    for net, names in (("+5V", ("V+", "AVDD", "AVCC", "VDRIVE")), ("-5V", ("V-",))):
        pins = [pin for pin in kicad.nets[net] if kicad.functions[pin] in names]
        assert on[net] == len(pins)
        assert all(kicad.types[pin] == "power_in" for pin in pins)


def test_every_component_is_in_the_bill_and_the_other_way_round(board, kicad):
    rows = list(csv.DictReader(io.StringIO(csv_text(bill(board)))))
    found = {}
    for row in rows:
        refs = []
        for item in row["Designators"].split(", "):
            first, _, last = item.partition("-")
            letter, start = first[0], int(first[1:])
            refs += [f"{letter}{k}" for k in range(start, int(last[1:]) + 1 if last else start + 1)]
        assert len(refs) == int(row["Quantity"])
        found |= dict.fromkeys(refs, row)
    assert set(found) == set(kicad.components)
    assert sum(int(row["Quantity"]) for row in rows) == len(kicad.components)
    for ref, row in found.items():
        comp = kicad.components[ref]
        assert (row["Value"], row["Part number"]) == (comp["value"], comp.get("MPN", ""))
        assert comp["footprint"].endswith(row["Footprint"])
    assert len({(row["Value"], row["Part number"], row["Footprint"]) for row in rows}) == len(rows)


def test_order_codes_of_resistors_say_their_value(kicad):
    for ref, comp in kicad.components.items():
        if ref.startswith("R"):
            thin = re.fullmatch(r"RT0805BRD07(.*)L", comp["MPN"])
            thick = re.fullmatch(r"RC0805FR-07(.*)L", comp["MPN"])
            code = (thin or thick)[1]
            assert code == comp["value"]
            assert (ohm_of(code) <= 1e6) == (thin is not None)


def test_codes_of_the_data_sheet():
    """Yageo, RT 0402 to 2512, V.4: the examples of its resistance code rule."""
    examples = {
        "10R": 10, "97R6": 97.6, "100R": 100, "1K": 1000, "9K76": 9760, "1M": 1e6, "9M76": 9.76e6, "56R": 56,
        "10K": 1e4,
    }  # fmt: skip
    assert {resistance_code(ohm): ohm for ohm in examples.values()} == examples
    assert resistor(4990).code == "RT0805BRD074K99L"
    assert resistor(10e6).code == "RC0805FR-0710ML"
    with pytest.raises(ValueError, match="three digits"):
        resistance_code(12345.0)
    for ohm in (1.0, 22e6):
        with pytest.raises(ValueError, match="from 10 ohm to 10 Mohm"):
            resistor(ohm)


def crossbar_of_spice(folder):
    found = {}
    for line in (folder / "crossbar.inc").read_text().splitlines():
        if match := re.fullmatch(r"R[pm]_\d+_\d+ (\S+) (x\d+) (\S+)", line):
            assert match.group(1, 2) not in found
            found[match.group(1, 2)] = float(match[3])
    return found


def crossbar_of_kicad(kicad):
    found = {}
    for ref, comp in kicad.components.items():
        ends = kicad.net_of[ref, "1"], kicad.net_of.get((ref, "2"))
        sources = [net for net in ends if re.fullmatch(r"[sd][pn]\d+|ref[pn]", net or "")]
        rows = [net for net in ends if re.fullmatch(r"x\d+", net or "")]
        if ref.startswith("R") and sources and rows:
            assert (sources[0], rows[0]) not in found
            found[sources[0], rows[0]] = ohm_of(comp["value"])
    return found


def test_the_crossbar_is_that_of_the_spice_netlist(tmp_path):
    spec = without(BOARD, "programming-error", "temperature")
    layer = layer_of(spec, 8, 4)
    write_circuit(layer, tmp_path)
    spice = crossbar_of_spice(tmp_path)
    assert len(spice) == 2 * 8 * 13
    assert crossbar_of_kicad(Kicad(netlist(design(layer)))) == pytest.approx(spice, rel=1e-12)


def test_a_chip_with_tolerance_is_the_board_within_tolerance(layer, kicad, tmp_path):
    write_circuit(layer, tmp_path)
    spice, bought = crossbar_of_spice(tmp_path), crossbar_of_kicad(kicad)
    assert spice.keys() == bought.keys()
    off = [spice[key] / bought[key] - 1 for key in spice]
    assert 3e-4 < math.sqrt(sum(x * x for x in off) / len(off)) < 9e-4
    assert max(map(abs, off)) < 0.003


def test_feedback_is_that_of_the_spice_netlist(layer, kicad, tmp_path):
    write_circuit(layer, tmp_path)
    text = (tmp_path / "layer.cir").read_text()
    (ohm,) = {float(v) for v in re.findall(r"\brf=(\S+)", text)}
    (farad,) = {float(v) for v in re.findall(r"\bcf=(\S+)", text)}
    for i in range(8):
        found = [
            comp["value"]
            for ref, comp in kicad.components.items()
            if ref[0] in "RC" and {kicad.net_of[ref, "1"], kicad.net_of.get((ref, "2"))} == {f"x{i}", f"v{i}"}
        ]
        assert sorted(found) == sorted(["1n", resistance_code(ohm)])
    assert farad == 1e-9


def test_states_reach_the_adc_and_drives_come_from_the_dac(kicad):
    (adc,), (dac,) = kicad.by_value("AD7606"), kicad.by_value("DAC7578")
    assert [kicad.pins(adc)[f"V{k}"] for k in range(1, 9)] == [[f"sp{k}"] for k in range(8)]
    assert [kicad.pins(dac)[f"VOUT{c}"] for c in "ABCD"] == [[f"dac{k}"] for k in range(4)]


def test_the_same_layer_gives_the_same_text(layer, kicad):
    assert netlist(design(layer)) == netlist(design(layer))
    assert len({comp["stamp"] for comp in kicad.components.values()}) == len(kicad.components)


def test_without_a_detector_its_amplifier_follows_ground():
    board = design(layer_of(spec_with("board", {"detector": None}), 3, 1))
    kicad = Kicad(netlist(board))
    assert not kicad.by_value("LM311")
    assert "STILL" not in kicad.nets
    for ref in kicad.by_value("OPA4192"):
        pins = kicad.pins(ref)
        assert pins["IN+ D"] == ["GND"]
        assert pins["OUT D"] == pins["IN- D"]


def test_sixteen_neurons_take_two_of_each_converter():
    board = design(layer_of(BOARD, 16, 16))
    kicad = Kicad(netlist(board))
    adcs, dacs = kicad.by_value("AD7606"), kicad.by_value("DAC7578")
    assert [kicad.pins(ref)["V8"] for ref in adcs] == [["sp7"], ["sp15"]]
    assert [kicad.pins(ref)["ADDR0"] for ref in dacs] == [["GND"], ["+5V"]]
    assert len({tuple(kicad.pins(ref)["CS"]) for ref in adcs}) == 2


@pytest.mark.parametrize(
    ("changes", "n", "m", "said"),
    [
        ({}, 17, 2, "17 neurons, expected at most 16"),
        ({}, 4, 17, "17 drives, expected at most 16"),
        ({"crossbar.e_series": None}, 3, 2, "set crossbar.e_series"),
        ({"crossbar.wires": {"word_line_ohm": 1.0, "bit_line_ohm": 1.0}}, 3, 2, "crossbar.wires"),
        ({"activation.v_scale_volt": 0.1}, 3, 2, "2 V_T"),
        ({"amplifier.supply_volt": 5.0}, 3, 2, "runs on ±5 V"),
        ({"dac.bits": 16}, 3, 2, "dac.bits = 16"),
        ({"crossbar.g_min_siemens": 1e-8}, 3, 2, "from 10 ohm to 10 Mohm"),
        ({"amplifier.c_feedback_farad": 1.04e-9}, 3, 2, "E24 from 1 pF"),
        ({"activation.v_out_volt": 3.0}, 3, 2, "v_out_volt = 3 V"),
        ({"detector.threshold_volt": 1e-6}, 3, 2, "threshold_volt = 1e-06 V"),
    ],
)
def test_what_it_cannot_be_is_refused_by_name(changes, n, m, said, tmp_path):
    with pytest.raises(UserError, match=re.escape(said)):
        write_board(layer_of(spec_with("board", changes), n, m), tmp_path / "board")
    assert not (tmp_path / "board").exists()


def test_every_reason_is_given_and_a_population_is_none():
    with pytest.raises(UserError) as refused:
        design(layer_of(spec_with("board", {"dac.bits": 16}), 17, 2))
    assert len(refused.value.mistakes) == 2
    crowd = program(tuple(torch.ones(*s).double() for s in ((2, 2), (2, 1), (2,))), Population(BOARD, [0, 1]))
    with pytest.raises(UserError, match="population of 2"):
        design(crowd)


def test_the_folder(layer, tmp_path):
    paths = write_board(layer, tmp_path / "new" / "board")
    names = {"bom.csv", "bom.md", "board.net", "board.cir", "neuron.svg", "sheet.svg"}
    assert {p.name for p in paths} == {p.name for p in (tmp_path / "new" / "board").iterdir()} == names
    board = design(layer)
    neuron, sheet = ((tmp_path / "new" / "board" / f"{name}.svg").read_text() for name in ("neuron", "sheet"))
    drawn = {
        ref
        for c in board.components
        if c.block in ("neuron 0", "detector 0") and c.part.value != "100n"
        for ref in [c.ref]
    }
    assert drawn <= set(re.findall(r"\b[RCUQ]\d+", neuron.replace("U3A", "U3 A")))
    assert f"{len(board.components)} parts" in sheet
    page = (tmp_path / "new" / "board" / "bom.md").read_text()
    assert "to be checked before ordering" in page
    assert f"{len(board.components)} parts" in page


def test_drawing_without_its_library_says_what_to_install(layer, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.startswith(("schemdraw", "equilog.circuit.board"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "schemdraw", None)
    from equilog.circuit.board import write_board as fresh

    with pytest.raises(UserError, match=r"pip install 'equilog\[report\]'"):
        fresh(layer, tmp_path / "board")
    assert not (tmp_path / "board").exists()


def test_power_and_area_add_up(board):
    watt = power_watt(board)
    assert watt["OPA4192"] == pytest.approx(8 * 4 * 1e-3 * 10)
    rows = block_rows(board)
    assert sum(row.watt for row in rows) == pytest.approx(sum(watt.values()))
    assert sum(row.parts for row in rows) == len(board.components)
    assert {row.block: row.parts for row in rows}["crossbar row"] == 208
    assert {row.block: row.area_mm2 for row in rows}["crossbar row"] == pytest.approx(208 * 3.36 * 1.9)


def test_the_board_is_what_was_asked_for_whatever_became_of_the_chip():
    """Age, temperature and tolerance are the chip's; the bill is the same."""
    young = layer_of(BOARD, 3, 2)
    warm = layer_of(BOARD, 3, 2, conditions=Conditions(None, 330.0))
    other = program((young.target[:, :3], young.target[:, 3:5], young.target[:, 5]), Chip(BOARD, 99))
    assert netlist(design(young)) == netlist(design(warm)) == netlist(design(other))


def test_the_adc_of_the_catalogue_has_every_pin_once():
    assert list(ADC.pins) == [str(k) for k in range(1, 65)]
    assert len(ADC.numbers("AGND")) == 6
    assert len(ADC.numbers("AVCC")) == 4
