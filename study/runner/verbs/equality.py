"""Decide, before a run is repeated here, whether its bytes
can be expected to equal the recorded ones.

Expected: the same kind of processor, build of torch, threads and package versions as recorded, for
the evaluation and for every stage. Not expected: one of them differs, or an accelerator computed
(its kernels sum in another order). Unknown: the record is older than schema 3 and does not name its
machine, or the machine of the new run is not known beforehand.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from study.record.machine import described
from study.record.schema import Machine, Provenance

_NEEDED = ("processor", "torch", "threads")


@dataclass(frozen=True)
class Expectation:
    """expected: whether the bytes should agree; None = unknown.
    reasons: why not, or why it is unknown.
    """

    expected: bool | None
    reasons: tuple[str, ...] = ()

    def __str__(self) -> str:
        because = "; ".join(self.reasons)
        if self.expected:
            return (
                "bitwise equality is expected: same kind of processor, torch build, threads and"
                " packages as recorded; anything else fails"
            )
        if self.expected is None:
            return (
                f"bitwise equality is unknown beforehand: {because}; judged by the statistical rule"
            )
        return f"bitwise equality is not expected: {because}; judged by the statistical rule"


def expectation(
    then: Provenance, machine: Machine | None, packages: Mapping[str, str]
) -> Expectation:
    """Return what to expect of a run recorded with `then` on `machine` with these packages.

    machine: None = unknown, for instance the nodes of a cluster.
    """
    recorded = list(dict.fromkeys([then.machine, *then.stage_machines.values()]))
    if any(one is None or _lacks(one) for one in recorded):
        return Expectation(None, ("the record does not say on what kind of machine it was made",))
    if machine is None or _lacks(machine):
        return Expectation(None, ("the machine that will do the work is not known here",))
    known = [one for one in recorded if one is not None]
    reasons = [line for one in known for line in machine_differences(one, machine)]
    reasons += [f"it was computed on {one.accelerator}" for one in known if one.accelerator]
    reasons += _differences(then.packages, packages)
    unique = tuple(dict.fromkeys(reasons))
    return Expectation(not unique, unique)


def machine_differences(then: Machine | None, now: Machine | None) -> list[str]:
    """Return `processor A -> B` for every field in which two machines differ."""
    return _differences(described(then), described(now))


def _lacks(machine: Machine) -> bool:
    return any(getattr(machine, name) is None for name in _NEEDED)


def _differences(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    return [
        f"{name} {then.get(name, 'none')} -> {now.get(name, 'none')}"
        for name in dict.fromkeys([*then, *now])
        if then.get(name) != now.get(name)
    ]
