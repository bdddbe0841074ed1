"""What ngspice says when it fails, as one sentence: which analysis, which node or part, and what to try."""

from __future__ import annotations

import re
from collections.abc import Sequence

from equilog.circuit.deck import Line, place

_FATAL = re.compile(
    r"(?i)(^\s*error\b.*|.*\bfatal\b.*|.*no convergence.*|.*timestep too small.*|.*parse error.*"
    r"|.*simulation\(s\) aborted.*|.*analysis not run.*|.*no space left.*)"
)
_SINGULAR = re.compile(r"(?i)singular matrix:\s+check nodes? (\S+)")
_REASON = re.compile(
    r"(?i)(netlist line|original line|undefined|unknown|unable to|could not|no such|can't find|error on line)"
)
_ANALYSES = {
    "OP": "operating point",
    "TRAN": "transient",
    "NOISE": "noise analysis",
    "AC": "AC analysis",
    "DC": "sweep",
}
_TRY = {
    "operating point": "is a node without a DC path to ground, or does the circuit latch? Else loosen reltol, abstol "
    "or vntol, or raise itl1, in the deck's .options",
    "transient": "loosen reltol, abstol or chgtol in the deck's .options, or shorten the first step of .tran",
}


def complaint(log: str, deck: Sequence[Line] = ()) -> str | None:
    """Return what ngspice reports as a failure, or None.

    Its exit code says nothing: it is 0 after many errors. A singular matrix and failed gmin or source steps that a
    later attempt mended are reported as warnings and are no failure. When source stepping fails too, ngspice falls back
    to a transient that it takes for the resting point; that is no proof, so here it is a failure.

    Args:
        log: all it said.
        deck: what it read; the line that it speaks of is quoted.
    """
    lines = [line.strip() for line in log.splitlines()]
    stuck = any("source stepping failed" in line.lower() for line in lines)
    fatal = [line for line in lines if _FATAL.match(line) and "warning:" not in line.lower()]
    if not fatal and not stuck:
        return None
    said: list[str] = []
    singular = _SINGULAR.findall(log)
    died = re.search(r"doAnalyses: (\w+):", log)
    if stuck or died:
        analysis = "operating point" if stuck or died is None else _ANALYSES.get(died[1], died[1])
        if stuck and singular:
            node = singular[-1].removesuffix("#branch")
            said.append(
                f"no operating point: singular matrix at {node!r}; every node needs a DC path to ground, and neither "
                "two sources nor a source and an inductor may be in parallel"
            )
        else:
            said.append(f"no convergence of the {analysis}; {_TRY.get(analysis, 'loosen reltol and abstol')}")
        said += [line for line in lines if "trouble with node" in line.lower()][:1]
    else:
        reasons = []
        for k, line in enumerate(lines):
            if _REASON.search(line):
                reasons.append(line)
                if line.endswith(":") and k + 1 < len(lines):  # the part in question stands below
                    reasons.append(lines[k + 1])
        said += reasons[:5] + fatal[:5]
    if (where := place(deck, log)) is not None:
        said.insert(0, str(where))
    return "; ".join(dict.fromkeys(text for text in said if text))
