"""What goes wrong between here and the hub, as one tuple of errors: no name server, no permission,
no such commit, a broken file.
"""


def hub_errors() -> tuple[type[Exception], ...]:
    """For `except hub_errors() as error`. httpx's errors are no OSErrors: an unreachable hub would
    end in a traceback.
    """
    from httpx import (
        HTTPError,
    )  # comes with huggingface_hub; imported only when something has gone wrong

    return OSError, ValueError, RuntimeError, HTTPError
