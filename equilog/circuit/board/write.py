"""The folder of a board.

bom.csv, bom.md     what to buy, power, what was assumed
board.net           netlist for KiCad
board.cir           the same parts as a SPICE circuit, transistors and all
neuron.svg          one neuron with its parts
sheet.svg           the whole board as blocks and buses
"""

from __future__ import annotations

from pathlib import Path

from equilog.circuit.board.bom import bill, csv_text, markdown
from equilog.circuit.board.deck import deck
from equilog.circuit.board.design import design
from equilog.circuit.board.kicad import netlist
from equilog.circuit.text import write_files
from equilog.hardware import ProgrammedLayer


def write_board(layer: ProgrammedLayer, folder: Path) -> list[Path]:
    """Write a layer as a board; drawings need the extra ``report``.

    Args:
        layer: the chip. Its tolerance is not written: it comes with the parts.
        folder: where to; made if need be. Files of the same names are replaced.

    Returns:
        the files written.

    Raises:
        UserError: for a layer that this board cannot be, naming why, or if the drawing library is missing.
    """
    board = design(layer)
    # Importing the drawing's room first gives its message, not that of the library it misses.
    from equilog.circuit.board import drawing  # noqa: F401, PLC0415
    from equilog.circuit.board.schematic import neuron_svg  # noqa: PLC0415
    from equilog.circuit.board.sheet import sheet_svg  # noqa: PLC0415

    lines = bill(board)
    texts = {
        "bom.csv": csv_text(lines),
        "bom.md": markdown(board, lines),
        "board.net": netlist(board),
        "board.cir": deck(board),
        "neuron.svg": neuron_svg(board),
        "sheet.svg": sheet_svg(board),
    }
    return write_files(folder, texts)
