"""The parts a board is made of: pins, footprints, order codes, supply currents, and how sure each of them is.

Pin numbers are those of the manufacturers' data sheets and of the symbols in KiCad 5's own libraries. Supply currents
are typical figures at ±5 V. `assumed` says what was not read in a data sheet and must be checked before ordering.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cache

from equilog.hardware.technology.eseries import MANTISSAS

COURTYARD_MM = {
    "SOIC-14_3.9x8.7mm_P1.27mm": (7.4, 9.16),
    "SOIC-8_3.9x4.9mm_P1.27mm": (7.4, 5.4),
    "SOT-363_SC-70-6": (3.6, 2.5),
    "SOT-23": (3.4, 3.5),
    "TSSOP-16_4.4x5mm_P0.65mm": (7.7, 5.5),
    "LQFP-64_10x10mm_P0.5mm": (13.4, 13.4),
    "R_0805_2012Metric": (3.36, 1.9),
    "C_0603_1608Metric": (2.96, 1.46),
    "C_0805_2012Metric": (3.4, 1.96),
}
"""sides of the footprints' courtyards, from KiCad 5's own libraries"""


@dataclass(frozen=True)
class Part:
    """One kind of part.

    Attributes:
        letter: of its designators.
        library, name: the symbol of KiCad's libraries.
        value: as printed beside the part.
        footprint: of KiCad's libraries.
        pins: pin number to pin name.
        maker, code: manufacturer and order code; an empty code is still to be chosen.
        description: in words.
        assumed: what to check before ordering; empty if nothing.
        positive_ampere, negative_ampere: typical supply currents from +5 V and into −5 V.
        ohm: of a resistor; 0 for others.
    """

    letter: str
    library: str
    name: str
    value: str
    footprint: str
    pins: dict[str, str] = field(hash=False)
    maker: str = ""
    code: str = ""
    description: str = ""
    assumed: str = ""
    positive_ampere: float = 0.0
    negative_ampere: float = 0.0
    ohm: float = 0.0

    @property
    def area_mm2(self) -> float:
        """Area of the courtyard; of a header, 2.54 mm a row and 1.1 mm beyond its pins."""
        size = COURTYARD_MM.get(self.footprint.partition(":")[2])
        if size is None:
            columns, rows = (int(count) for count in self.value.split("x"))
            size = (2.54 * columns + 1.06, 2.54 * rows + 1.06)
        return size[0] * size[1]

    def numbers(self, pin_name: str) -> list[str]:
        """Return the numbers of all pins of that name."""
        return [number for number, name in self.pins.items() if name == pin_name]


_TWO = {"1": "~", "2": "~"}


def _amplifier(code: str, letters: str, supply: tuple[str, str], order: str, footprint: str, amplifiers: int) -> Part:
    """Return an op-amp package; `order` names its pins from pin 1 on, such as ``oA -A +A V+``."""
    names = {"o": "OUT", "-": "IN-", "+": "IN+"}
    pins = {
        str(k): token if token in supply else f"{names[token[0]]} {token[1]}"
        for k, token in enumerate(order.split(), start=1)
    }
    return Part(
        "U", "Amplifier_Operational", letters, code, footprint, pins, "Texas Instruments", f"{code}IDR",
        f"{amplifiers} precision op-amps, 10 MHz, 20 V/µs, rail to rail, ±5 µV",
        "order code of the reel; its pins and figures are those of data sheet SBOS620",
        1e-3 * amplifiers, 1e-3 * amplifiers,
    )  # fmt: skip


SUPPLY = ("V+", "V-")
QUAD = _amplifier(
    "OPA4192", "TL074", SUPPLY, "oA -A +A V+ +B -B oB oC -C +C V- +D -D oD", "Package_SO:SOIC-14_3.9x8.7mm_P1.27mm", 4
)
DUAL = _amplifier("OPA2192", "TL072", SUPPLY, "oA -A +A V- +B -B oB V+", "Package_SO:SOIC-8_3.9x4.9mm_P1.27mm", 2)
PAIR = Part(
    "Q", "Transistor_BJT", "BC847BS", "BCM846BS", "Package_TO_SOT_SMD:SOT-363_SC-70-6",
    {"1": "E1", "2": "B1", "3": "C2", "4": "E2", "5": "B2", "6": "C1"},
    "Nexperia", "BCM846BS,115", "matched pair of NPN transistors, V_BE equal to 2 mV, h_FE 290",
    "packing suffix of the order code; pins are those of the data sheet of 2015",
)  # fmt: skip
COMPARATOR = Part(
    "U", "Comparator", "LM311", "LM311", "Package_SO:SOIC-8_3.9x4.9mm_P1.27mm",
    {"1": "GND", "2": "IN+", "3": "IN-", "4": "V-", "5": "BAL", "6": "STRB", "7": "OUT", "8": "V+"},
    "Texas Instruments", "LM311DR", "comparator with an open collector that is referred to ground",
    "supply currents are those at ±15 V; balance and strobe tied to each other as the data sheet advises",
    5.1e-3, 4.1e-3,
)  # fmt: skip
REFERENCE = Part(
    "U", "Reference_Voltage", "LM4040DBZ-2.5", "LM4040-2.5", "Package_TO_SOT_SMD:SOT-23",
    {"1": "K", "2": "A", "3": "NC"},
    "Texas Instruments", "LM4040A25IDBZR", "shunt reference 2.5 V, 0.1 %", "order code; pin 3 goes to the anode",
    2.5e-3,  # through its bias resistor
)  # fmt: skip
DAC = Part(
    "U", "Analog_DAC", "DAC5578xPW", "DAC7578", "Package_SO:TSSOP-16_4.4x5mm_P0.65mm",
    {
        "1": "LDAC", "2": "ADDR0", "3": "AVDD", "4": "VOUTA", "5": "VOUTC", "6": "VOUTE", "7": "VOUTG", "8": "VREFIN",
        "9": "CLR", "10": "VOUTH", "11": "VOUTF", "12": "VOUTD", "13": "VOUTB", "14": "GND", "15": "SDA", "16": "SCL",
    },
    "Texas Instruments", "DAC7578SPWR", "eight 12 bit DACs on I²C, 0 V to the reference",
    "order code of the reel; pins are those of its 8 bit sister DAC5578, which shares the data sheet SBAS496", 1.04e-3,
)  # fmt: skip
DAC_OUTPUTS = tuple(f"VOUT{channel}" for channel in "ABCDEFGH")


def _adc_pins() -> dict[str, str]:
    pins = {"1": "AVCC", "2": "AGND", "3": "OS0", "4": "OS1", "5": "OS2", "6": "PAR/SER", "7": "STBY", "8": "RANGE"}
    pins |= {"9": "CONVST_A", "10": "CONVST_B", "11": "RESET", "12": "RD/SCLK", "13": "CS", "14": "BUSY"}
    pins |= {"15": "FRSTDATA", "23": "VDRIVE", "24": "DOUT_A", "25": "DOUT_B", "34": "REF_SELECT", "36": "REGCAP"}
    pins |= {str(16 + k): f"DB{k}" for k in range(7)} | {str(27 + k): f"DB{9 + k}" for k in range(7)}
    pins |= {"26": "AGND", "35": "AGND", "37": "AVCC", "38": "AVCC", "39": "REGCAP", "40": "AGND", "41": "AGND"}
    pins |= {"42": "REFIN/REFOUT", "43": "REFGND", "44": "REFCAPA", "45": "REFCAPB", "46": "REFGND", "47": "AGND"}
    pins |= {"48": "AVCC"}
    for k in range(8):
        pins |= {str(49 + 2 * k): f"V{k + 1}", str(50 + 2 * k): f"V{k + 1}GND"}
    return dict(sorted(pins.items(), key=lambda pin: int(pin[0])))


ADC = Part(
    "U", "Analog_ADC", "AD7606", "AD7606", "Package_QFP:LQFP-64_10x10mm_P0.5mm", _adc_pins(),
    "Analog Devices", "AD7606BSTZ", "eight simultaneous 16 bit ADCs, ±5 V, 200 kS/s",
    "100 mW read as a current of 20 mA at 5 V; data pins unused in serial mode go to ground", 20e-3,
)  # fmt: skip


def resistor(ohm: float) -> Part:
    """Return the chip resistor of a value of the E series: thin film up to 1 MΩ, thick film above.

    Raises:
        ValueError: for a value that neither of the two families is made in.
    """
    if not 10 <= ohm <= 10e6:
        raise ValueError(f"{ohm:g} ohm: chip resistors of these families are made from 10 ohm to 10 Mohm")
    thin = ohm <= 1e6
    code = f"RT0805BRD07{resistance_code(ohm)}L" if thin else f"RC0805FR-07{resistance_code(ohm)}L"
    return Part(
        "R", "Device", "R", resistance_code(ohm), "Resistor_SMD:R_0805_2012Metric", _TWO, "Yageo", code,
        "thin film 0.1 %, 25 ppm/K, 1/8 W" if thin else "thick film 1 %, 100 ppm/K, 1/8 W",
        "that every value of the series is stocked"
        if thin
        else "1 % instead of 0.1 %: of a conductance this small that is less than 0.1 % of 1/(100 kohm)",
        ohm=ohm,
    )  # fmt: skip


def resistance_code(ohm: float) -> str:
    """Return a resistance with the unit's prefix as its decimal point, no trailing zeros: 56R, 97R6, 10K, 4K99, 1M.

    The rule of Yageo's global part number: data sheets RT (0402 to 2512, V.4 of 2009) and RC_L (V.9 of 2018).

    Raises:
        ValueError: if it takes more than three digits.
    """
    scale, letter = (1e6, "M") if ohm >= 1e6 else (1e3, "K") if ohm >= 1e3 else (1.0, "R")
    number = ohm / scale
    text = f"{number:.{max(0, 2 - int(math.log10(number)))}f}"
    if abs(float(text) / number - 1) > 1e-6:
        raise ValueError(f"{ohm!r} ohm has more than three digits; expected a value of an E series")
    whole, _, part = text.partition(".")
    return whole + letter + part.rstrip("0")


_CAPACITORS = {
    # farad: footprint, code, description
    100e-9: ("0603_1608Metric", "GRM188R71H104KA93D", "X7R 10 %, 50 V"),
    1e-6: ("0603_1608Metric", "GRM188R61E105KA12D", "X5R 10 %, 25 V"),
    10e-6: ("0805_2012Metric", "GRM21BR61E106KA73L", "X5R 10 %, 25 V"),
}


@cache
def capacitor(farad: float) -> Part:
    """Return a ceramic capacitor: the three that buffer supplies by order code, others as C0G of E24.

    Raises:
        ValueError: for a value that is not of E24 or not made in C0G (1 pF to 10 nF).
    """
    known = next((entry for value, entry in _CAPACITORS.items() if abs(farad / value - 1) < 1e-9), None)
    if known is not None:
        size, code, description = known
        assumed = "order code from memory: check it"
    else:
        mantissa = farad / 10 ** math.floor(math.log10(farad) + 1e-9)
        if not 1e-12 <= farad <= 1.0000001e-8 or min(abs(mantissa / m - 1) for m in MANTISSAS["E24"]) > 1e-6:
            raise ValueError(f"{farad:g} F is no capacitor one buys in C0G; expected a value of E24 from 1 pF to 10 nF")
        size, description = "0603_1608Metric", "C0G 5 %, 50 V"
        code = "GRM1885C1H102JA01D" if abs(farad / 1e-9 - 1) < 1e-9 else ""
        assumed = "order code from memory: check it" if code else "order code still to be chosen"
    return Part(
        "C", "Device", "C", _farads(farad), f"Capacitor_SMD:C_{size}", _TWO, "Murata", code, description, assumed
    )


def header(rows: int, columns: int) -> Part:
    """Return a pin header, 2.54 mm, of one column or two."""
    name = f"Conn_{columns:02d}x{rows:02d}" + ("_Odd_Even" if columns == 2 else "")
    return Part(
        "J", "Connector_Generic", name, f"{columns}x{rows}",
        f"Connector_PinHeader_2.54mm:PinHeader_{columns}x{rows:02d}_P2.54mm_Vertical",
        {str(k): f"Pin_{k}" for k in range(1, rows * columns + 1)},
        description=f"pin header 2.54 mm, {columns} × {rows}", assumed="any make",
    )  # fmt: skip


def _farads(farad: float) -> str:
    for scale, prefix in ((1e-6, "u"), (1e-9, "n"), (1e-12, "p")):
        if farad >= scale * (1 - 1e-9):
            return f"{farad / scale:g}{prefix}"
    return f"{farad:g}"
