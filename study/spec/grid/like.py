"""Complete the entries of a scale: those that start from another, `weak: {like: student, ...}` with
only the differences, and the sampler of every `sampling` that names none.

    mappings        merge, key by key
    anything else   is replaced; so is a mapping that names its own `kind`, as a whole
Every value keeps the file and line of its definition, which is often that of the other entry.
"""

from dataclasses import replace

from study.spec.yaml.load import Located, extended, suggestion
from study.spec.yaml.validation import located_error

SECTIONS = ("data", "models", "evaluations", "probes")
KEY = "like"


def spelled_out(page: Located, below: Located | None = None) -> Located:
    """Return the scale with every `like` replaced by the entry that it names.

    below: the scale that this one extends, already resolved; its entries can be named too. Errors:
    SpecError with file and line for a name that is no entry and for an entry that starts from
    itself.
    """
    sections = dict(page.entries)
    for name in SECTIONS:
        if name in sections:
            sections[name] = _section(name, sections[name], below)
    return replace(page, value=sections)


def _section(name: str, section: Located, below: Located | None) -> Located:
    under = (below.get(name) if below else None) or Located({}, section.origin)
    entries = {
        key: _entry(key, section, under, name, ()) if KEY in entry.entries else entry
        for key, entry in section.entries.items()
    }
    return replace(section, value=entries) if section.entries else section


def _entry(key: str, section: Located, under: Located, name: str, seen: tuple[str, ...]) -> Located:
    """Return one entry in full. seen: the entries that lead here."""
    own, base = section.get(key), under.get(key)
    if own is None or KEY not in own.entries:
        return extended(base, own) if own and base else own or base or Located(None, "")
    wanted, path = own.entries[KEY], f"{name}.{key}.{KEY}"
    other = str(wanted.value)
    known = section.entries | under.entries
    if other not in known:
        raise located_error(
            wanted, path, f"no entry {other!r} under {name}{suggestion(other, known)}"
        )
    if other in (key, *seen):
        chain = " -> ".join([*seen, key, other])
        raise located_error(wanted, path, f"the entry {other!r} is like itself: {chain}")
    start = _entry(other, section, under, name, (*seen, key))
    if not start.entries:
        raise located_error(wanted, path, f"{other!r} is a name, and not an entry written out")
    rest = {field: value for field, value in own.entries.items() if field != KEY}
    return extended(start, replace(own, value=rest))


def with_sampler(node: Located, sampler: Located | None) -> Located:
    """Return a tree in which every mapping `sampling` names a sampler: its own, else this one."""
    if sampler is None:
        return node
    if node.items:
        return replace(node, value=[with_sampler(item, sampler) for item in node.items])
    fields = {key: with_sampler(child, sampler) for key, child in node.entries.items()}
    if "sampling" in fields:
        sampling = fields["sampling"]
        fields["sampling"] = replace(sampling, value={"sampler": sampler} | sampling.entries)
    return replace(node, value=fields) if fields else node
