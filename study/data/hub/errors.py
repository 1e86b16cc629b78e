"""The errors of a download from the hub as one tuple, for `except`: no name server, no permission,
no such commit, a broken file.
"""


def hub_errors() -> tuple[type[Exception], ...]:
    """Return the errors to catch: `except hub_errors() as error`.

    httpx's errors are no OSErrors, so each is named.
    """
    # Imported only after an error; it comes with huggingface_hub.
    from httpx import HTTPError

    return OSError, ValueError, RuntimeError, HTTPError
