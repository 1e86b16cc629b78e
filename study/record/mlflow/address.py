"""Find the address of the MLflow mirror: the database in the results folder, or a tracking server
that an option or MLFLOW_TRACKING_URI names.

A password in a URI is taken out of it at once. It goes to the writer through its environment, never
into a command line, log or record.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit, urlunsplit

from study.record.store import Results

_BUSY_S = 30  # how long a statement waits for another process that holds the database


@dataclass(frozen=True)
class Address:
    """An address. uri: for MLflow's client. local: the results folder's own database. secrets:
    texts that no output may hold.
    """

    uri: str = field(repr=False)
    shown: str
    local: bool
    environment: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)

    @property
    def secrets(self) -> set[str]:
        """Return the password in its plain spelling."""
        known = {
            self.environment.get("MLFLOW_TRACKING_PASSWORD", ""),
            unquote(urlsplit(self.uri).password or ""),
        }
        return known - {""}


def address(results: Results, uri: str | None = None) -> Address:
    """Return the address. uri: as the user gave it; None = MLFLOW_TRACKING_URI, else the results
    folder's own database.
    """
    wanted = uri or os.environ.get("MLFLOW_TRACKING_URI", "")
    if not wanted:
        return Address(
            f"sqlite:///{results.database.resolve()}?timeout={_BUSY_S}",
            str(results.database),
            local=True,
        )
    parts = urlsplit(wanted)
    bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    shown = urlunsplit(urlsplit(bare)._replace(query="", fragment=""))
    if parts.scheme not in ("http", "https"):
        return Address(wanted, shown, local=False)  # a database needs its password in the URI
    login = {"MLFLOW_TRACKING_USERNAME": parts.username, "MLFLOW_TRACKING_PASSWORD": parts.password}
    return Address(
        bare,
        shown,
        local=False,
        environment={name: unquote(value) for name, value in login.items() if value},
    )
