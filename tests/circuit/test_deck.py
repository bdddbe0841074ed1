"""A deck is read with all it includes, and refused where it is not one or asks for more than an analysis."""

import pytest

from equilog.circuit import Ngspice
from equilog.circuit.deck import DeckError, read_deck
from equilog.names import UserError


def deck(folder, *lines):
    (folder / "x.cir").write_text("\n".join(["* test", *lines, ".end", ""]))
    return folder, "x.cir", "x.raw"


@pytest.mark.parametrize("spoil", ["missing folder", "missing deck", "folder for a deck", "no text"])
def test_a_folder_that_cannot_be_read(tmp_path, spoil):
    folder = tmp_path / "circuit"
    if spoil != "missing folder":
        folder.mkdir()
    if spoil == "folder for a deck":
        (folder / "op.cir").mkdir()
    if spoil == "no text":
        (folder / "op.cir").write_bytes(b"* \xff\xfe\n")
    with pytest.raises(DeckError, match=r"op\.cir (in .*: (No such file|Is a directory)|is no text)"):
        Ngspice("/nowhere", 39).run(folder, "op.cir", "op.raw")


@pytest.mark.parametrize(
    "name", ["-r", "../x.cir", "/etc/passwd", "a b.cir", "x.cir;id", "`id`", "", "x\n.cir", "ü.cir"]
)
def test_a_file_may_not(tmp_path, name):
    with pytest.raises(DeckError, match="expected the plain name of a file"):
        Ngspice("/nowhere", 39).run(tmp_path, name, "x.raw")
    with pytest.raises(UserError, match="expected a plain file name"):
        Ngspice("/nowhere", 39).run(tmp_path, "x.cir", name)


@pytest.mark.parametrize(
    "lines",
    [
        [".control", "shell id", ".endc"],
        [".control", "op ; shell id", ".endc"],
        [".control", "echo `id`", ".endc"],
        [".control", "echo x > /tmp/y", ".endc"],
        [".control", "op > /tmp/y", ".endc"],
        [".control", "write /tmp/y.raw", ".endc"],
        [".control", "write ../y.raw v(a)", ".endc"],
        [".control", "source other.cir", ".endc"],
        [".control", "  CODEMODEL x.cm", ".endc"],
        [".include /etc/passwd"],
        [".include ../x.inc"],
        [" .INC '/etc/passwd'"],
        [".lib /etc/passwd tt"],
        [".include with_control.inc"],
        [".include x.cir"],
        [".model p d_process (process_file=x)"],
        ["*# shell id"],
        ["*ng_script"],
    ],
    ids=lambda lines: " ".join(lines[:2]),
)
def test_a_deck_that_asks_for_more_than_an_analysis(tmp_path, lines):
    (tmp_path / "with_control.inc").write_text("* first line\n.control\nop\n.endc\n")
    with pytest.raises(DeckError, match=r"(x\.cir|with_control\.inc), line [23]: "):
        Ngspice("/nowhere", 39).run(*deck(tmp_path, *lines))


def test_includes_are_read_in_their_place(tmp_path):
    (tmp_path / "a.inc").write_text('R1 a 0 1\n.include "b.inc"\nR3 a 0 3\n')
    (tmp_path / "b.inc").write_text("R2 a 0 2")
    lines = read_deck(*deck(tmp_path, ".include a.inc")[:2])
    found = [(line.file, line.number, line.text) for line in lines if line.text.startswith("R")]
    assert found == [("a.inc", 1, "R1 a 0 1"), ("b.inc", 1, "R2 a 0 2"), ("a.inc", 3, "R3 a 0 3")]
