"""Thread behaviour that must be settled before torch is imported; therefore this file does not import it."""

import os

SHORT_SPINS = 2_000


def quiet_threads(*, spins: int = 0) -> None:
    """Let OpenMP threads sleep while they wait, unless the user's environment says otherwise.

    By default they spin. On two cores shared with other programs the spinning threads keep the working ones
    from running: a small transformer step was measured at 855 ms spinning and 37 ms sleeping. Where steps are
    short, `SHORT_SPINS` are better: a 4 s clip took 1.3 s with them, 3.2 s without. The OpenMP runtime reads
    these variables once, when torch is imported.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", str(spins))
