"""`study fetch`: download and check everything that a scale pins on the hub, for machines without
internet.
"""

import os
from pathlib import Path
from typing import Annotated

import httpx
import typer

from study.cli import console
from study.runner.verbs.fetch import fetch as fetch_item
from study.runner.verbs.fetch import name_of, needed, refuse
from study.spec.grid.scale import load_scale


def fetch(
    scale: Annotated[str, typer.Option(help="The scale page: a name, or a path.")] = "paper",
    into: Annotated[
        Path | None,
        typer.Option(help="Use this folder as HF_HOME, to be copied to another machine."),
    ] = None,
    show: Annotated[
        bool, typer.Option("--list", help="List what would be fetched, and fetch nothing.")
    ] = False,
) -> None:
    """Download the models, data sets and benchmarks of a scale at their pinned commits.

    Each is opened once, to check that it can be read.
    """
    if into is not None:
        # huggingface_hub reads this when it is imported, below.
        os.environ["HF_HOME"] = str(into.expanduser().resolve())
    if not show and not _reachable():
        # Otherwise every item is requested five times, half a minute each.
        os.environ["HF_HUB_OFFLINE"] = "1"
        console.say(
            "the hub cannot be reached from here: only what the cache and STUDY_DATA hold is"
            " looked at"
        )
    items = needed(load_scale(scale))
    done = []
    for item in items:
        if show:
            console.say(name_of(item))
            continue
        one = fetch_item(item)
        done.append(one)
        console.say(f"{name_of(item)}: {'MISSING' if one.error else one.told}")
    refuse(done, scale)
    if items and not show:
        home = f"export HF_HOME={into} HF_HUB_OFFLINE=1" if into else "export HF_HUB_OFFLINE=1"
        console.say(f"{len(items)} items are there; without internet: {home}")


def _reachable() -> bool:
    """Try one request to the hub, through any proxy that is set, before its client is imported and
    reads HF_HUB_OFFLINE.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        return False
    try:
        httpx.head(
            os.environ.get("HF_ENDPOINT", "https://huggingface.co"),
            timeout=10,
            follow_redirects=True,
        )
    except httpx.TransportError:
        return False
    return True
