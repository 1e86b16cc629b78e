"""Read older records as records of today's schema.

The file does not change: its seal is checked over the bytes
as written, its value upgraded in memory.

An upgraded record keeps the seal of its file, so that the mirror and `study publish` still
recognise it; it is never written.
"""

from collections.abc import Callable
from typing import Any, cast

from study.errors import RecordMismatch
from study.record.schema import SCHEMA_VERSION, Record

Value = dict[str, Any]


class NewerSchema(RecordMismatch):
    """A sealed record that a later version of this software wrote."""


def from_1_to_2(value: Value) -> Value:
    """Upgrade schema 1, which had one revision of every stage
    kind, and neither a guard nor a collapse.

    A run's kinds are those with a cost.
    """
    cost: Any = value.get("cost")
    # A value that is not a record of schema 1 either is refused later.
    kinds = cast(Value, cost) if isinstance(cost, dict) else {}
    revisions = dict.fromkeys(kinds, 1)
    return {**value, "schema": 2, "revisions": revisions, "guard": None, "collapsed_at": None}


def from_2_to_3(value: Value) -> Value:
    """Upgrade schema 2, which did not record the machine:
    `Provenance` reads it as None, "not recorded".
    """
    return {**value, "schema": 3}


def from_3_to_4(value: Value) -> Value:
    """Upgrade schema 3, which did not record under which claims the stages were started:
    `Provenance` reads this as None, "not recorded".
    """
    return {**value, "schema": 4}


UPGRADES: dict[int, Callable[[Value], Value]] = {1: from_1_to_2, 2: from_2_to_3, 3: from_3_to_4}


def upgraded(value: Value) -> Value:
    """Return the value in today's schema. Raises NewerSchema;
    `Record` refuses a version that never existed.
    """
    version: Any = value.get("schema")
    if type(version) is int and version > SCHEMA_VERSION:
        what = (
            f"made by a newer version of this software (schema {version};"
            f" this one reads 1 to {SCHEMA_VERSION})"
        )
        raise NewerSchema(what, hint="update: git pull, then make setup")
    while type(version) is int and version in UPGRADES:
        value = UPGRADES[version](value)
        version = value["schema"]
    return value


def record_of(value: Value) -> Record:
    """Return the record behind a JSON value of any schema so
    far. Errors: NewerSchema, pydantic's ValidationError.
    """
    return Record.model_validate(upgraded(value))
