"""Hide secrets of the environment in a run's files: keys and passwords that a library's error
message may repeat.

No variable of the environment is ever written to a record, manifest or status.
Libraries write the messages and tracebacks of failures (failure.json, outcome.json,
the mirror): in them the values of variables with a secret's name are hidden, and so
are passwords inside URLs, in every spelling that a message may use: plain, quoted,
or URL-encoded. A worker's log.txt holds what its libraries print, unchanged.
"""

import json
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import quote, quote_plus, unquote

HIDDEN = "***"
_WORD_IN_NAME = (
    r"TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|API_?KEY|ACCESS_KEY|PRIVATE_KEY"
)
_NAMES = re.compile(
    rf"(^|_)({_WORD_IN_NAME})(_|$)"  # HF_TOKEN, WANDB_API_KEY, AWS_SECRET_ACCESS_KEY
    r"|(PASSWORD|PASSWD|PASS|PASSPHRASE|SECRET|TOKEN|APIKEY)$"  # PGPASSWORD, SMTP_PASS, SSHPASS
    r"|(^|_)(KEY|PAT)$",  # AZURE_STORAGE_KEY, GITHUB_PAT
    re.IGNORECASE,
)
_USER_INFO = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<info>[^\s/?#'\"<>]+)@")
_SHORTEST = 6  # a shorter value is a word or a flag, and hiding it would spoil the message


def secrets(environment: Mapping[str, str] | None = None) -> set[str]:
    """Return the secret values of an environment (default: this
    process's), each in its plain spelling.

    A variable is secret by its name; a password by its place in a URL (HTTPS_PROXY).
    """
    variables = os.environ if environment is None else environment
    found = {value for name, value in variables.items() if _NAMES.search(name)}
    for value in variables.values():
        found.update(_in_urls(value))
    return {value.strip() for value in found if len(value.strip()) >= _SHORTEST}


def hidden(message: str, also: Iterable[str] = ()) -> str:
    """Return the message with every secret hidden. also: secret
    texts in addition to those of the environment.
    """
    spellings = {each for secret in {*secrets(), *also} if secret for each in _spellings(secret)}
    for spelling in sorted(spellings, key=len, reverse=True):
        message = message.replace(spelling, HIDDEN)
    return _USER_INFO.sub(_without_password, message)


def _in_urls(text: str) -> Iterator[str]:
    """Yield passwords of URLs, and the user where there is no password (https://TOKEN@host)."""
    for match in _USER_INFO.finditer(text):
        user, colon, password = match["info"].partition(":")
        web = match["scheme"].lower().startswith("http")
        secret = password if colon and password else user if web else ""
        yield from (secret, unquote(secret))


def _spellings(secret: str) -> set[str]:
    """Return the ways in which a message may write a text: plain, inside quotes, in a shell, in
    JSON, in a URL.
    """
    quoted = {repr(secret)[1:-1], ascii(secret)[1:-1], shlex.quote(secret)}
    as_json = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    as_bytes = repr(secret.encode("utf-8", "surrogateescape"))[2:-1]
    encoded = {quote(secret, safe="", errors="replace"), quote(secret, errors="replace")}
    plus = quote_plus(secret, errors="replace")
    lower = {re.sub("%[0-9A-F]{2}", lambda match: match[0].lower(), each) for each in encoded}
    return {secret, *quoted, *as_json, as_bytes, *encoded, plus, *lower}


def _without_password(match: re.Match[str]) -> str:
    user, colon, _ = match["info"].partition(":")
    return f"{match['scheme']}{user}:{HIDDEN}@" if colon else match[0]
