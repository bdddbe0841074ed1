"""An allocation as plain data: what is written as JSON, and what tables are made of."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from equilog.allocate.allocation import Allocation, Outcome
from equilog.allocate.formulate import Situation
from equilog.allocate.problem import evaluate
from equilog.allocate.recount import Recount
from equilog.cost.span import Span


def summary(found: Allocation, outcome: Outcome | None = None) -> dict[str, Any]:
    """Return everything that was found, in SI units; spans as ``{low, typical, high}``."""
    of, optimum = found.situation, found.optimum
    return {
        "hardware": of.spec.name,
        "target": of.target.name,
        "limits": found.limits.given(),
        "minimised": optimum.objective,
        "proof": {
            "least": getattr(optimum.cost, optimum.objective),
            "bound": optimum.bound,
            "gap": optimum.gap,
            "solver": "HiGHS by scipy.optimize.milp",
        },
        "layers": layers(found),
        "chosen": {name: _span(found.span(name)) for name in ("energy_joule", "latency_second", "area_m2")}
        | {"loss": optimum.cost.loss, "tiles": optimum.cost.tiles, "neurons": optimum.cost.neurons},
        "digital": {"energy_joule": found.digital.energy_joule, "latency_second": found.digital.latency_second},
        "conversions": conversions(found),
        "refused": [asdict(r) for r in found.refused],
        "samples_measured": len(found.measuring[1]),
        "accuracy_ideal": found.ideal,
        "front": [
            {
                "energy_joule": p.cost.energy_joule,
                "latency_second": p.cost.latency_second,
                "loss": p.cost.loss,
                "area_m2": p.cost.area_m2,
                "kinds": found.kinds_of(p.choice),
            }
            for p in found.front
        ],
        "front_whole": found.front_whole,
        "outcome": None if outcome is None else _outcome(outcome, len(found.checking[1])),
        "seconds": dict(found.seconds),
    }


def layers(found: Allocation) -> list[dict[str, Any]]:
    """Return every vertex in the graph's order: what it is, what it became, and what each option takes.

    Without converters, which may be shared or left out: see :func:`conversions`.
    """
    rows = []
    for k, (node, o) in enumerate(zip(found.situation.nodes, found.optimum.choice)):
        options = found.problem.vertices[k].options
        measured = {
            option.kind: found.measured[node.module, option.kind]
            for option in options
            if node.module is not None and (node.module, option.kind) in found.measured
        }
        rows.append(
            {
                "name": node.label,
                "what": node.what,
                "kind": options[o].kind,
                "options": [
                    {
                        "kind": option.kind,
                        "energy_joule": alone.energy_joule,
                        "latency_second": alone.latency_second,
                        "area_m2": alone.area_m2,
                    }
                    | (
                        {
                            "accuracy_alone": measured[option.kind].mean,
                            "standard_error": measured[option.kind].standard_error,
                            "loss": found.situation.losses[str(node.module), option.kind],
                        }
                        if option.kind in measured
                        else {}
                    )
                    for option, alone in zip(options, (found.situation.alone(node, option) for option in options))
                ],
            }
        )
    return rows


def conversions(found: Allocation) -> list[dict[str, Any]]:
    """Return every conversion and every link of the choice, by the layer whose result it is."""
    nodes, cross = found.situation.nodes, found.crossings
    rows: list[dict[str, Any]] = []
    for k in found.reported:
        rows.append({"of": nodes[k].label, "by": "ADC", "for": []})
    for k, form in sorted(cross.played):
        readers = [nodes[w].label for w, slot in sorted(cross.entered) if _reads(found, w, slot) == (k, form)]
        rows.append({"of": nodes[k].label, "by": "DAC", "for": readers, "format": form})
    for w, slot in sorted(cross.linked):
        rows.append({"of": nodes[nodes[w].inputs[slot]].label, "by": "link", "for": [nodes[w].label]})
    return rows


@dataclass(frozen=True)
class Part:
    """A share of the energy of one inference: an operation, or all converters."""

    name: str
    joule: float
    analog: bool


CONVERTERS, REST = "converters", "everything else"


def energy_parts(of: Situation, choice: tuple[int, ...]) -> list[Part]:
    """Return what takes a choice's energy at typical values: operations in the graph's order, converters last.

    A layer's power while its converters work is the converters'.
    """
    problem, parts = of.problem(), dict[tuple[str, bool], float]()
    for node, vertex, o in zip(of.nodes, problem.vertices, choice):
        key = node.label, vertex.options[o].kind != "digital"
        parts[key] = parts.get(key, 0.0) + of.alone(node, vertex.options[o]).energy_joule
    parts[CONVERTERS, True] = evaluate(problem, choice).energy_joule - sum(parts.values())
    return [Part(name, joule, analog) for (name, analog), joule in parts.items() if joule > 0]


def _reads(found: Allocation, w: int, slot: int) -> tuple[int, str]:
    option = found.problem.vertices[w].options[found.optimum.choice[w]]
    return found.situation.nodes[w].inputs[slot], option.reads[slot]


def _outcome(outcome: Outcome, samples: int) -> dict[str, Any]:
    on = outcome.happened
    return {
        "samples": samples,
        "accuracy_ideal": outcome.ideal,
        "accuracy_predicted": outcome.predicted,
        "accuracy_unseen_chips": {"mean": on.mean, "worst": on.worst, "each": list(on.each)},
        "same_chip": _recount(outcome.same_chip),
        "unseen_chip": _recount(outcome.unseen_chip),
    }


def _recount(counted: Recount) -> dict[str, Any]:
    return {
        "energy_joule": _span(counted.energy_joule),
        "latency_second": _span(counted.latency_second),
        "dac_conversions": counted.dac_conversions,
        "adc_conversions": counted.adc_conversions,
        "macs": counted.macs,
        "activations": counted.activations,
    }


def _span(span: Span) -> dict[str, float]:
    return {"low": span.low, "typical": span.typical, "high": span.high}
