"""The base class of every spec value: frozen, strict, closed."""

from pydantic import BaseModel, ConfigDict


class Spec(BaseModel):
    """An immutable value with declared fields; an unknown key or a wrong type is an error."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")
