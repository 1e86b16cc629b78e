"""Write a preregistration for people to read."""

from collections.abc import Iterator

from study.record.declared.preregistration import DeclaredClaim, Preregistration


def to_markdown(page: Preregistration) -> str:
    """Return the preregistration as Markdown; the sealed file next to it is what counts."""
    return "\n".join([*_head(page), *_claims(page), *_gates(page), *_arms(page)]) + "\n"


def _head(page: Preregistration) -> Iterator[str]:
    yield from (f"# Preregistration {page.name}", "", page.question, "")
    yield f"- Declared: {page.date} (UTC). Grid {page.grid}, scale {page.scale}."
    yield f"- Base students (seeds): {_listed(page.seeds)}."
    yield f"- {seen_text(page)}"
    for family, claims in page.families.items():
        gone = page.withdrawn.get(family, 0)
        also = f", and {gone} withdrawn" if gone else ""
        yield f"- Family {family}: {', '.join(claims)}{also}. Holm's adjustment runs over all."
    if page.screening is not None:
        reserve, gates = page.screening["seeds"], page.screening["gates"]
        yield (
            f"- Screening: the reserve seeds {_listed(reserve)} are gone through in order until"
            f" {page.screening['bases']} bases pass {', '.join(gates)}."
        )
    yield f"- Expected power: {page.power_from}."
    yield f"- State of the claims: `{page.state}`. Seal: `{page.seal}`."
    yield ""


def seen_text(page: Preregistration) -> str:
    """Return how much had been seen when the preregistration was written."""
    if not page.seen.runs:
        return "No record of these arms existed."
    before = f"{page.seen.runs} runs of these arms on {len(page.seen.seeds)} seeds"
    again = sorted(set(page.seeds) & set(page.seen.seeds))
    late = f" For seeds {_listed(again)} this declares nothing in advance." if again else ""
    return (
        f"Seen already: {before} ({_listed(page.seen.seeds)}) had a record. What follows extends"
        f" them.{late}"
    )


def _claims(page: Preregistration) -> Iterator[str]:
    yield from ("## Claims", "")
    for claim in page.claims:
        yield from (f"### {claim.id}", "", claim.text, "")
        yield f"- Tests: {claim.sentence}."
        role = f"primary, family {claim.family}" if claim.primary else "secondary"
        yield f"- {role.capitalize()}; expectation: {claim.expectation}."
        if claim.gates:
            yield f"- Controls: {', '.join(claim.gates)}."
        yield f"- Expected: {power_text(claim)}."
        yield ""


def power_text(claim: DeclaredClaim) -> str:
    """Return the expected words of a claim."""
    if claim.expectation == "none":
        return "reported, without a verdict"
    if claim.not_testable is not None:
        return f"not testable here: {claim.not_testable}"
    if claim.power is None:
        return "no variance known"
    power = claim.power
    words = ", ".join(f"{word} {share:.2f}" for word, share in power.words.items() if share)
    return f"{words} (mean {power.mean:.3g}, sd {power.deviation:.3g}: {power.basis})"


def _gates(page: Preregistration) -> Iterator[str]:
    if not page.gates:
        return
    yield from ("## Controls", "")
    for gate in page.gates:
        yield f"- {gate.id}: {gate.text}. {gate.sentence}; {gate.failing}."
    yield ""


def _arms(page: Preregistration) -> Iterator[str]:
    yield from ("## Arms", "", "| arm | cell |", "|---|---|")
    for cell, combinations in page.cells.items():
        for labels in combinations:
            words = " ".join(f"{factor}={level}" for factor, level in labels.items())
            yield f"| {words} | `{cell}` |"


def _listed(numbers: tuple[int, ...] | list[int]) -> str:
    return ", ".join(map(str, numbers)) or "none"
