"""A deck and all that it includes, line by line: checked before it reaches a simulator, quoted when it fails there.

ngspice counts lines in ways of its own (after expansion, after sorting, differently from version to version), so that
errors are traced by the names that they quote.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from equilog.names import UserError

FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
"""of a deck, of what it includes and of what it writes: no folder, no option, nothing that a shell expands"""

COMMANDS = frozenset(
    (
        *("ac", "dc", "noise", "op", "run", "tf", "tran"),
        *("alter", "altermod", "option", "save", "set", "unset"),
        *("destroy", "let", "linearize", "meas", "remzerovec", "setplot", "setscale", "settype", "unlet"),
        *("dowhile", "else", "end", "foreach", "if", "repeat", "while"),
        *("echo", "print", "quit", "rusage", "status", "wrdata", "write"),
    )
)
"""what a control block may do: none starts a program, loads code or reads a file"""

INCLUDE = re.compile(r"(?i)\s*\.(?:include|inc|lib)\s+(.*?)\s*$")
_CODE = re.compile(r"(?i)\s*\.model\s+\S+\s+(d_process|d_cosim)\b|\s*\.(hdl|exec|pre_osdi|osdi)\b")


class DeckError(UserError):
    """A deck that is not given to the simulator; the message names file and line."""


class Line(NamedTuple):
    """One line of a deck.

    Attributes:
        file: name of the file it stands in.
        number: its number there, from 1.
        text: without the line end.
    """

    file: str
    number: int
    text: str

    def __str__(self) -> str:
        text = " ".join(self.text.split())
        return f"{self.file}, line {self.number}: {text if len(text) <= 100 else text[:97] + '...'}"


def read_deck(folder: Path, name: str, *, control: bool = True) -> list[Line]:
    """Return a deck with everything it includes in the place of each ``.include``.

    Args:
        folder: holds the deck and all that it includes.
        name: of the deck's file.
        control: whether it may hold a control block; what it includes never may.

    Raises:
        DeckError: if a file is missing, lies elsewhere, is no text or includes itself, or if it asks for more than
            an analysis.
    """
    if not FILE_NAME.fullmatch(name):
        raise DeckError(f"deck {name!r}: expected the plain name of a file in {folder}, such as op.cir")
    lines = list(_read(folder, name, (), None))
    check(lines, name if control else None)
    return lines


def included(lines: Sequence[Line]) -> set[str]:
    """Return the names of the files that the lines stand in."""
    return {line.file for line in lines}


def _read(folder: Path, name: str, within: tuple[str, ...], asked: Line | None) -> Iterator[Line]:
    by = "" if asked is None else f"{asked}: "
    if name in within:
        raise DeckError(f"{by}{name} includes itself")
    try:
        text = (folder / name).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise DeckError(f"{by}{name} is no text") from None
    except OSError as error:
        raise DeckError(f"{by}{name} in {folder}: {error.strerror}") from None
    yield Line(name, 0, "")  # so that a file without lines is known too
    for number, content in enumerate(text.splitlines(), 1):
        line = Line(name, number, content)
        # The first line is the title, whatever it says; an included file has none.
        directive = "." in content[:1] or content[:1].isspace()
        match = None if not directive or (asked is None and number == 1) else INCLUDE.match(content)
        if match is None:
            yield line
            continue
        target = match[1].strip("\"'")
        if not FILE_NAME.fullmatch(target):
            where = "a section of a library" if len(target.split()) > 1 else "another folder"
            raise DeckError(f"{line}: {where} is not read; copy what is needed into a file beside the deck")
        yield from _read(folder, target, (*within, name), line)


def check(lines: Sequence[Line], bench: str | None = None) -> None:
    """Raise :class:`DeckError` for lines that ask for more than an analysis.

    Args:
        lines: includes and all.
        bench: the file that may hold a control block, if any.
    """
    inside = False
    title = next((line for line in lines if line.number), None)
    for line in lines:
        if not inside and line.text[:1].isalnum():
            continue  # a part of the circuit, as nearly all lines are
        words = line.text.split(maxsplit=1)
        first = words[0].lower() if words else ""
        # Comments to a reader, commands to ngspice.
        if re.match(r"(?i)\s*\*(#|\s*ng_script)", line.text):
            raise DeckError(f"{line}: ngspice takes this comment for commands")
        if line is title:
            continue
        if first == ".control":
            if line.file != bench:
                raise DeckError(f"{line}: only a test bench may hold a control block")
            inside = True
        elif first == ".endc":
            inside = False
        elif inside and first and not first.startswith("*"):
            _check_command(line)
        elif match := _CODE.match(line.text):
            raise DeckError(f"{line}: {match[1] or match[2]} runs other code, which no deck here may")


def _check_command(line: Line) -> None:
    for part in line.text.split(";"):
        words = part.split()
        if not words:
            continue
        if words[0].lower() not in COMMANDS:
            raise DeckError(
                f"{line}: {words[0]!r} is no command of a test bench; expected {', '.join(sorted(COMMANDS))}"
            )
        if words[0].lower() in ("write", "wrdata") and not FILE_NAME.fullmatch(words[1] if len(words) > 1 else ""):
            raise DeckError(f"{line}: expected the plain name of a file to write")
    compares = line.text.split()[0].lower() in ("if", "while", "dowhile")
    if "`" in line.text or (not compares and re.search("[<>]", line.text)):
        raise DeckError(f"{line}: output goes nowhere but into raw files, and no shell is asked")


_QUOTES = (
    re.compile(r"(?i)error on line.*?:\s*\n\s*(\S+)"),
    re.compile(r"(?i)unknown subckt: (\S+)"),
    re.compile(r"(?i)undefined parameter \[(\S+)\]"),
    re.compile(r"(?i)no such device or model name (\S+)"),
    re.compile(r"(?i)trouble with node \"?([^\s\"]+)"),
    re.compile(r"(?i)check node (\S+)"),
    re.compile(r"(?i)can't find model '(\S+)'"),
    re.compile(r"(?i)find definition of model (\S+)"),
)


def place(lines: Sequence[Line], said: str) -> Line | None:
    """Return the line of the deck that ngspice speaks of, or None if it cannot be told.

    Args:
        lines: the deck.
        said: ngspice's messages.
    """
    for pattern in _QUOTES:
        for match in pattern.finditer(said):
            if (found := _find(lines, match[1].lower())) is not None:
                return found
    return None


def _find(lines: Sequence[Line], name: str) -> Line | None:
    """Return where a device, node or parameter stands first; of one in a block, where the block is used."""
    name = name.removesuffix("#branch")
    words = [(line, line.text.lower().split()) for line in lines if line.number and not line.text.startswith("*")]
    candidates = [name]
    if "." in name:
        first, second, *_ = name.split(".")
        candidates += [second if len(first) == 1 else first]
    for candidate in candidates:
        for line, found in words:
            if found and found[0] == candidate:
                return line
        for line, found in words:
            if candidate in found[1:] and not found[0].startswith("."):
                return line
    braced = re.compile(rf"(?<![\w.]){re.escape(name)}(?![\w.])")
    return next((line for line, found in words if any("{" in w and braced.search(w) for w in found)), None)
