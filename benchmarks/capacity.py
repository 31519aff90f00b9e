"""How many workers a service needs: a queue, simulated, for a laptop or for thousands of GPUs.

    python benchmarks/capacity.py --films 2000 --seconds 2.5
    python benchmarks/capacity.py --films 1000000 --seconds 95 --spread 0.6 --peak 2.5
    python benchmarks/capacity.py --check

`--films` a day come at random, `--peak` times as often at the busiest hour as on average, and each takes a
worker `--seconds`, more or less by `--spread` (standard deviation over mean): measure both with
`benchmarks/server_load.py` on the machine that will serve. Prints, for numbers of workers from what the mean
asks for upwards, how busy they are and how long films wait before they begin: half of them at most, 95 of 100
and 99 of 100. `--check` compares the simulation with Erlang's formula for a queue that has one.
"""

import argparse
import heapq
import math

import numpy as np

DAY_S = 86_400
MOST_FILMS = 400_000  # what is simulated of a day that has more: its busiest hours
FACTORS = (1.02, 1.25, 1.5, 2.0, 2.25, 2.5, 2.6, 3.0)


def main() -> None:
    """Print the table."""
    options = parsed()
    if options.check:
        check()
        return
    rng = np.random.default_rng(options.seed)
    mean = options.films * options.seconds / DAY_S
    arrivals = arriving(rng, options.films, options.peak)
    services = lasting(rng, len(arrivals), options.seconds, options.spread)
    print(f"{options.films} films a day of {options.seconds:g} s keep {mean:.2f} workers busy on average")
    print(f"and {mean * options.peak:.2f} at the busiest hour.\n")
    print("| workers | busy, mean of the day | wait, half | 95 of 100 | 99 of 100 |")
    print("|---|---|---|---|---|")
    for workers in sorted({max(1, math.ceil(mean * factor)) for factor in FACTORS}):
        waits = waiting(arrivals, services, workers)
        half, most, nearly_all = np.quantile(waits, [0.5, 0.95, 0.99])
        busy = min(1.0, mean / workers)
        print(f"| {workers} | {busy:.0%} | {human(half)} | {human(most)} | {human(nearly_all)} |")


def arriving(rng: np.random.Generator, films: int, peak: float) -> np.ndarray:
    """Return the times of a day at which films are asked for, busiest at noon, of so many films a day."""
    hours = np.arange(24) + 0.5
    rates = 1 + (peak - 1) * np.cos((hours - 12) / 24 * 2 * math.pi).clip(-1 / max(peak - 1, 1), 1)
    rates *= films / rates.sum()
    counts = rng.poisson(rates)
    if counts.sum() > MOST_FILMS:  # the busiest hours decide
        order = np.argsort(-rates)
        kept = order[np.cumsum(counts[order]) <= MOST_FILMS]
        kept = kept if len(kept) else order[:1]
        counts = np.where(np.isin(np.arange(24), kept), counts, 0)
    times = [(hour + rng.random(count)) * 3600 for hour, count in enumerate(counts)]
    return np.sort(np.concatenate(times))


def lasting(rng: np.random.Generator, count: int, seconds: float, spread: float) -> np.ndarray:
    """Return how long each film takes: lognormal, so that a few take much longer."""
    if not spread:
        return np.full(count, seconds)
    sigma = math.sqrt(math.log1p(spread**2))
    return rng.lognormal(math.log(seconds) - sigma**2 / 2, sigma, count)


def waiting(arrivals: np.ndarray, services: np.ndarray, workers: int) -> np.ndarray:
    """Return how long each film waits when the first that came is served first."""
    free, waits = [0.0] * workers, np.empty(len(arrivals))
    heapq.heapify(free)
    for number, (came, takes) in enumerate(zip(arrivals.tolist(), services.tolist(), strict=True)):
        begins = max(came, free[0])
        heapq.heapreplace(free, begins + takes)
        waits[number] = begins - came
    return waits


def erlang_c(load: float, workers: int) -> float:
    """Return the share of films that wait at all, for exponential times (Erlang 1917)."""
    blocked = 1.0
    for number in range(1, workers + 1):
        blocked = load * blocked / (number + load * blocked)
    return workers * blocked / (workers - load * (1 - blocked))


def check() -> None:
    """Print the simulated mean wait beside the exact one."""
    print("| workers | load | mean wait, formula | simulated |")
    print("|---|---|---|---|")
    rng, films = np.random.default_rng(0), 400_000
    for workers, load in ((1, 0.5), (2, 1.6), (10, 8.5), (100, 95.0)):
        exact = erlang_c(load, workers) / (workers - load)
        arrivals = np.cumsum(rng.exponential(1 / load, films))
        found = float(waiting(arrivals, rng.exponential(1.0, films), workers).mean())
        print(f"| {workers} | {load:g} | {exact:.3f} | {found:.3f} |")
        if abs(found - exact) > 0.1 * exact:
            raise SystemExit("the simulation is wrong")


def human(seconds: float) -> str:
    """Return a time as people say it."""
    if seconds < 90:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--films", type=int, default=2_000)
    parser.add_argument("--seconds", type=float, default=2.5)
    parser.add_argument("--spread", type=float, default=0.5)
    parser.add_argument("--peak", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--check", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
