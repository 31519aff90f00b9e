"""Thread behaviour that must be settled before torch is imported; therefore this file does not import it."""

import os


def quiet_threads() -> None:
    """Let OpenMP threads sleep while they wait, unless the user's environment says otherwise.

    By default they spin. On two cores shared with other programs the spinning threads keep the working ones
    from running: a small transformer step was measured at 855 ms spinning and 37 ms sleeping. The OpenMP
    runtime reads these variables once, when torch is imported.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
