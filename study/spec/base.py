"""What every spec value is: frozen, strict, closed."""

from pydantic import BaseModel, ConfigDict


class Spec(BaseModel):
    """An immutable value that knows all of its fields; an unknown key or a wrong type is an
    error.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")
