"""A worker that dies without a word at a point that has a name.

    python tests/support/crashing_worker.py POINT

The settings are the environment's. Points: claimed, filming, encoded, stored, committing, committed.
"""

import os
import sys
from collections.abc import Callable
from typing import Any

from unstatic.server import jobs, worker
from unstatic.server.pulse import Pulse
from unstatic.server.settings import read_settings
from unstatic.server.storage import Storage

POINTS = ("claimed", "filming", "encoded", "stored", "committing", "committed")


def dies(function: Callable[..., Any], *, before: bool) -> Callable[..., Any]:
    """Return a function that ends the process before or after it does what it does."""

    def and_die(*arguments: Any, **named: Any) -> Any:
        if not before:
            function(*arguments, **named)
        os._exit(9)

    return and_die


def main(point: str) -> None:
    """Arm the point and work."""
    match point:
        case "claimed":
            worker.Worker._make = dies(worker.Worker._make, before=True)
        case "filming":
            Pulse.tell = dies(Pulse.tell, before=False)
        case "encoded":
            Storage.put_file = dies(Storage.put_file, before=True)
        case "stored":
            Storage.put_file = dies(Storage.put_file, before=False)
        case "committing":
            jobs.complete = dies(jobs.complete, before=False)  # written, not yet committed
        case "committed":
            worker.Worker._make = dies(worker.Worker._make, before=False)
        case _:
            raise SystemExit(f"{point} is none of {', '.join(POINTS)}")
    worker.run(read_settings())


if __name__ == "__main__":
    main(sys.argv[1])
