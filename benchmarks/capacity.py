"""How many workers a service needs: a queue, simulated, for a laptop or for thousands of GPUs.

    python benchmarks/capacity.py --films 2000 --seconds 2.5
    python benchmarks/capacity.py --films 1000000 --seconds 95 --spread 0.6 --peak 2.5
    python benchmarks/capacity.py --films 20000 --job 0.8:20 --job 0.2:240:0.3 --least 4 --start 180
    python benchmarks/capacity.py --films 20000 --seconds 95 --lives 7 --start 180
    python benchmarks/capacity.py --check

`--films` a day come at random, `--peak` times as often at the busiest hour as on average, and each takes a
worker `--seconds`, more or less by `--spread` (standard deviation over mean); `--job
SHARE:SECONDS[:SPREAD]`, again for more, says so of several kinds instead. Measure both on the machine that
will serve. Prints, for numbers of workers from what the mean asks for upwards, how busy they are and how
long films wait before they begin: half of them at most, 95 of 100 and 99 of 100; and how long they take
from being asked for to their end.

`--least` lets the number of workers follow the films, from so many to that of the row: one that is missing
comes `--start` seconds later, and those without work go when there were some for `--idle`. `--lives` is
after how many days a worker is lost, with what it makes: that is begun anew `--start` seconds later. `paid`
is how many workers there were on average, busy or not. Who came first is served first: that accounts have
shares, and no more made at a time than their tier says, is left out. `--check` compares the simulation with
Erlang's formula for a queue that has one, and films that are begun anew with the formula for those.
"""

import argparse
import heapq
import math
from typing import NamedTuple

import numpy as np

DAY_S = 86_400
# Numbers of workers over what is busy on average, and at the busiest hour
OF_THE_MEAN, OF_THE_PEAK = (1.02, 1.25, 1.5), (1.0, 1.125, 1.25, 1.5)


class Kind(NamedTuple):
    """Films that are alike: their share of all, and how long each keeps a worker."""

    share: float
    seconds: float
    spread: float


class Served(NamedTuple):
    """How long each film waited before it began, and how many workers there were on average."""

    waits: np.ndarray
    paid: float


def main() -> None:
    """Print the table."""
    options = parsed()
    if options.check:
        check()
        return
    if options.films < 1:
        raise SystemExit(f"--films is {options.films}: give 1 or more a day")
    rng = np.random.default_rng(options.seed)
    kinds = options.job or [Kind(1.0, options.seconds, options.spread)]
    arrivals = arriving(rng, options.films, options.peak)
    if not len(arrivals):
        raise SystemExit("nobody came on that day: take more --films or another --seed")
    services = lasting(rng, len(arrivals), kinds)
    whole = with_losses(rng, services, options.lives * DAY_S, options.start)
    mean = options.films * float(whole.mean()) / DAY_S
    print(f"{options.films} films a day of {services.mean():.3g} s keep {mean:.2f} workers busy on average")
    print(f"and {mean * options.peak:.2f} at the busiest hour.\n")
    print("| workers | busy, mean of the day | paid | wait, half | 95 of 100 | 99 of 100 | done, 95 of 100 |")
    print("|---|---|---|---|---|---|---|")
    factors = (*OF_THE_MEAN, *(options.peak * each for each in OF_THE_PEAK))
    for workers in sorted({max(1, math.ceil(mean * factor)) for factor in factors}):
        served = serve(arrivals, whole, workers, options.least, options.start, options.idle)
        half, most, nearly_all = np.quantile(served.waits, [0.5, 0.95, 0.99])
        done = float(np.quantile(served.waits + whole, 0.95))
        times = " | ".join(human(each) for each in (half, most, nearly_all, done))
        print(f"| {workers} | {min(1.0, mean / workers):.0%} | {served.paid:.3g} | {times} |")


def arriving(rng: np.random.Generator, films: int, peak: float) -> np.ndarray:
    """Return the times of a day at which films are asked for, busiest at noon, of so many films a day."""
    rates = films * hours_of(peak)
    counts = rng.poisson(rates)
    times = [(hour + rng.random(count)) * 3600 for hour, count in enumerate(counts)]
    return np.sort(np.concatenate(times))


def hours_of(peak: float) -> np.ndarray:
    """Return the share of every hour of a day, of which the busiest has `peak` times the mean."""
    if not 1 <= peak < 24:
        raise SystemExit(f"--peak is {peak:g}: give 1 to less than 24")
    shape, low, high = np.cos((np.arange(24) - 12) / 24 * 2 * math.pi), 0.0, 1e4
    for _ in range(80):  # the sharper the day the larger its peak
        sharp = (low + high) / 2
        shares = np.exp(sharp * (shape - 1))
        shares /= shares.sum()
        low, high = (sharp, high) if 24 * shares.max() < peak else (low, sharp)
    return shares


def lasting(rng: np.random.Generator, count: int, kinds: list[Kind]) -> np.ndarray:
    """Return how long each film takes: lognormal within its kind, so that a few take much longer."""
    shares = np.array([kind.share for kind in kinds])
    chosen = rng.choice(len(kinds), count, p=shares / shares.sum())
    sigmas = np.sqrt(np.log1p(np.array([kind.spread for kind in kinds]) ** 2))
    means = np.log([kind.seconds for kind in kinds]) - sigmas**2 / 2
    return np.exp(means[chosen] + sigmas[chosen] * rng.standard_normal(count))


def with_losses(rng: np.random.Generator, services: np.ndarray, life_s: float, start_s: float) -> np.ndarray:
    """Return how long films keep workers that are lost every `life_s` at random: these begin them anew."""
    total, left = np.zeros(len(services)), np.arange(len(services))
    while life_s < math.inf and len(left):
        until_s = rng.exponential(life_s, len(left))
        lost = until_s < services[left]
        total[left] += np.where(lost, until_s + start_s, services[left])
        left = left[lost]
    return total if life_s < math.inf else services


def serve(
    arrivals: np.ndarray,
    services: np.ndarray,
    most: int,
    least: int | None = None,
    start_s: float = 0.0,
    idle_s: float = math.inf,
) -> Served:
    """Serve first who came first, with `least` workers (`most` if None) and up to `most` if need be."""
    least, first_s = most if least is None else min(max(least, 1), most), float(arrivals[0])
    free, waits = [first_s] * least, np.empty(len(arrivals))
    paid_s, since_s = -first_s * least, first_s
    for number, (came, takes) in enumerate(zip(arrivals.tolist(), services.tolist(), strict=True)):
        # Some had nothing to do for too long
        since_s = max(since_s, free[0])
        while len(free) > least and since_s + idle_s < came:
            since_s += idle_s
            while len(free) > least and free[0] <= since_s:
                heapq.heappop(free)
                paid_s += since_s
            since_s = max(since_s, free[0])

        # None is free: one more is on its way, for this film or a later one
        if free[0] > came and len(free) < most:
            heapq.heappush(free, came + start_s)
            paid_s -= came
        begins = max(came, free[0])
        heapq.heapreplace(free, begins + takes)
        waits[number] = begins - came
        since_s = came if free[0] > came else since_s
    end_s = max(free)
    return Served(waits, (paid_s + end_s * len(free)) / (end_s - first_s))


def erlang_c(load: float, workers: int) -> float:
    """Return the share of films that wait at all, for exponential times (Erlang 1917)."""
    blocked = 1.0
    for number in range(1, workers + 1):
        blocked = load * blocked / (number + load * blocked)
    return workers * blocked / (workers - load * (1 - blocked))


def check() -> None:
    """Print simulated means beside the exact ones."""
    print("| workers | load | mean wait, formula | simulated |")
    print("|---|---|---|---|")
    rng, films = np.random.default_rng(0), 400_000
    for workers, load in ((1, 0.5), (2, 1.6), (10, 8.5), (100, 95.0)):
        exact = erlang_c(load, workers) / (workers - load)
        arrivals = np.cumsum(rng.exponential(1 / load, films))
        found = float(serve(arrivals, rng.exponential(1.0, films), workers).waits.mean())
        print(f"| {workers} | {load:g} | {exact:.3f} | {found:.3f} |")
        if abs(found - exact) > 0.1 * exact:
            raise SystemExit("the simulation is wrong")
    print("\n| film over life of a worker | mean time over film, formula | simulated |\n|---|---|---|")
    for share in (0.01, 0.1, 1.0):
        exact = math.expm1(share) * (1 / share + 0.5)
        found = float(with_losses(rng, np.ones(films), 1 / share, 0.5).mean())
        print(f"| {share:g} | {exact:.3f} | {found:.3f} |")
        if abs(found - exact) > 0.02 * exact:
            raise SystemExit("the simulation is wrong")


def human(seconds: float) -> str:
    """Return a time as people say it."""
    if seconds < 90:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def kind(text: str) -> Kind:
    """Read SHARE:SECONDS or SHARE:SECONDS:SPREAD."""
    share, seconds, spread = (*map(float, text.split(":")), 0.5)[:3]
    return Kind(share, seconds, spread)


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--films", type=int, default=2_000)
    parser.add_argument("--seconds", type=float, default=2.5)
    parser.add_argument("--spread", type=float, default=0.5)
    parser.add_argument("--job", type=kind, action="append", metavar="SHARE:SECONDS[:SPREAD]")
    parser.add_argument("--peak", type=float, default=2.0)
    parser.add_argument("--least", type=int)
    parser.add_argument("--start", type=float, default=60.0)
    parser.add_argument("--idle", type=float, default=30.0)
    parser.add_argument("--lives", type=float, default=math.inf)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--check", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
