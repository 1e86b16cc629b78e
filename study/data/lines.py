"""Read users' JSON Lines files: bytes split at line feeds, each line one JSON object.

Every file of rows goes through here: `study init`, `study grade`, `study compare`, replies, local
benchmark files and data files of a grid. A line is decoded as UTF-8 with or without a byte-order
mark. `str.splitlines` would be wrong: a JSON text may hold an unescaped U+2028, U+0085 or form
feed. Errors name the file and the line and say what to do.
"""

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from study.errors import PrerequisiteError

ARRAY = "one object per line; a JSON array is turned into lines by: jq -c '.[]' FILE"
_ESCAPE = "in JSON a backslash is written twice: \\\\frac; json.dumps writes it so"
_NUMBER = 'a number of more than 4300 digits is written as a text: "123..."'
_NESTED = "brackets are nested too deeply; a row holds texts, numbers and lists of them"
_UTF16 = "iconv -f UTF-16 -t UTF-8 FILE"
_GZIP = b"\x1f\x8b"
_ENCODING = "save the file as UTF-8; for example: iconv -f LATIN1 -t UTF-8 FILE"
_WIDE = (b"\xff\xfe", b"\xfe\xff")  # byte-order marks of UTF-16
_TABLE = (
    "one JSON object per line, UTF-8; a parquet file:"
    " pandas.read_parquet(FILE).to_json(OUT, orient='records', lines=True)"
)


class _Repeats(dict[str, Any]):
    """An object of which one name was written twice; `name` is that name."""

    name: str


def split_lines(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (number, line) of every line that is not blank. Numbers begin with 1."""
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not _blank(line):
            yield number, line


def stream_lines(path: Path) -> Iterator[tuple[int, bytes, int]]:
    """Yield (number, line, bytes of the file read so far) of a file that may be gzipped (.gz).

    Blank lines are skipped. PrerequisiteError where the file cannot be read.
    """
    with _opened(path) as (file, read):
        for number, line in enumerate(file, start=1):
            if not _blank(line):
                yield number, line, read()


def parse_object(line: bytes, where: str) -> dict[str, Any]:
    """Parse one line. PrerequisiteError `where: what is wrong` unless it is one JSON object."""
    text = decode(line, where)
    try:
        value = json.loads(text, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise PrerequisiteError(f"{where}: not JSON ({error})", hint=_hint(error)) from error
    if not isinstance(value, dict):
        raise PrerequisiteError(f"{where}: not a JSON object", hint=ARRAY)
    if isinstance(value, _Repeats):
        raise PrerequisiteError(
            f"{where}: the name {value.name!r} is written twice in one object",
            hint="keep one of them: which one counts is not defined in JSON",
        )
    return cast("dict[str, Any]", value)


def _hint(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return _NESTED
    if "digits" in str(error):
        return _NUMBER
    return _ESCAPE if "escape" in str(error) else ARRAY


def decode(line: bytes, where: str) -> str:
    """Return the text of one line. PrerequisiteError where it is not UTF-8."""
    try:
        return line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PrerequisiteError(
            f"{where}: not JSON in UTF-8 ({error.reason} at byte {error.start + 1})",
            hint=_encoding(line),
        ) from error


def _encoding(line: bytes) -> str:
    if line.startswith(_GZIP):
        return "the file is packed with gzip: gunzip it, or give it a name that ends in .gz"
    return _UTF16 if line.startswith(_WIDE) else _ENCODING


def text_content(content: bytes, path: Path) -> bytes:
    """Return what a file of rows holds: unpacked where its name ends in .gz.

    Errors: PrerequisiteError if it is not text, or not a gzip file.
    """
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise PrerequisiteError(
                f"{path}: cannot be unpacked ({error})", hint="give a JSON Lines file, also gzipped"
            ) from error
    require_text(content, path)
    return content


def require_text(content: bytes, path: Path) -> None:
    """Raise PrerequisiteError for a file that is not text at all: parquet, UTF-16, an archive."""
    if content.startswith(_WIDE):
        raise PrerequisiteError(
            f"{path} is not a text file in UTF-8, but UTF-16",
            hint=_UTF16,
        )
    if content.startswith(_GZIP):
        raise PrerequisiteError(
            f"{path} is packed with gzip", hint=f"give it a name that ends in .gz: {path.name}.gz"
        )
    if content.startswith((b"PAR1", b"PK\x03\x04")) or b"\0" in content[:4096]:
        raise PrerequisiteError(f"{path} is not a text file", hint=_TABLE)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    names = [name for name, _ in pairs]
    repeats = _Repeats(found)
    repeats.name = next(name for name in names if names.count(name) > 1)
    return repeats


def _blank(line: bytes) -> bool:
    return not line.strip() or line.strip() == b"\xef\xbb\xbf"


@contextmanager
def _opened(path: Path) -> Iterator[tuple[IO[bytes], Callable[[], int]]]:
    """Yield the file's lines as bytes, and a function that returns how much of it has been read
    from the disk.
    """
    try:
        with path.open("rb") as raw:
            packed = path.suffix == ".gz"
            file = cast("IO[bytes]", gzip.GzipFile(fileobj=raw)) if packed else raw
            yield file, raw.tell
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise PrerequisiteError(
            f"{path}: cannot be read ({reason})", hint="give a JSON Lines file, UTF-8, also gzipped"
        ) from error
