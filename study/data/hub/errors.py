"""The errors of a download from the hub, as one tuple: no name server, no permission, no such
commit, a broken file.
"""


def hub_errors() -> tuple[type[Exception], ...]:
    """Return the errors to catch: `except hub_errors() as error`.

    httpx's errors are no OSErrors, so they are named one by one.
    """
    # Imported only when something has gone wrong; it comes with huggingface_hub.
    from httpx import HTTPError

    return OSError, ValueError, RuntimeError, HTTPError
