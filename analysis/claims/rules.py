"""The versions of the rules of evidence.

Each version is a set of switches over one code path, so that a verdict that changed can be traced
to the rule that changed it (`order`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Rules:
    """name: as on the command line. Each switch turns one rule of the second version on:

    - not_testable: a claim that its page declares not testable gets that word.
    - gates_by_base: a gate is judged in each base; else its mean over bases is.
    - families: Holm runs over the primary claims of a finding, in all grids and all stored states;
      else over the directed primary claims that stand on the grid's page.
    - sign_flip: from 8 bases on, the exact sign-flip test must agree with the t-interval.
    - bounded: limits stay inside what the outcome allows.
    """

    name: str
    not_testable: bool = True
    gates_by_base: bool = True
    families: bool = True
    sign_flip: bool = True
    bounded: bool = True


FIRST = Rules("1", *[False] * 5)
SECOND = Rules("2")
VERSIONS = {rules.name: rules for rules in (FIRST, SECOND)}
SWITCHES = ("bounded", "sign_flip", "families", "gates_by_base", "not_testable")


def order() -> Iterator[tuple[str, Rules]]:
    """Yield each rule with the rules that are on once it is: from the first version to the
    second, one switch at a time.
    """
    rules = replace(FIRST, name="2")
    for switch in SWITCHES:
        rules = replace(rules, **{switch: True})
        yield switch, rules
