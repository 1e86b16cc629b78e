"""Secrets of the environment, kept out of what a run leaves: tokens and passwords that an error
message of a library may repeat.

No variable of the environment is ever written to a record, manifest or status. Messages and
tracebacks of failures (failure.json, outcome.json, the mirror) are other people's words: there the
values of variables that are named like secrets are hidden. A worker's log.txt holds what its
libraries print, as they print it.
"""

import os
import re
from collections.abc import Iterable, Mapping

HIDDEN = "***"
_NAMES = re.compile(
    r"(^|_)(TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|API_?KEY|ACCESS_KEY|PRIVATE_KEY)(_|$)",
    re.IGNORECASE,
)
_SHORTEST = 6  # a shorter value is a word or a flag, and hiding it would spoil the message


def secrets(environment: Mapping[str, str] | None = None) -> set[str]:
    """The values of variables that are named like secrets: HF_TOKEN, AWS_SECRET_ACCESS_KEY,
    WANDB_API_KEY ...
    """
    found = os.environ if environment is None else environment
    return {
        value for name, value in found.items() if _NAMES.search(name) and len(value) >= _SHORTEST
    }


def hidden(message: str, also: Iterable[str] = ()) -> str:
    """The message with every secret hidden. also: texts that are secret besides those of the
    environment.
    """
    for secret in sorted({*secrets(), *also}, key=len, reverse=True):
        message = message.replace(secret, HIDDEN)
    return message
