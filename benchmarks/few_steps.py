"""How many steps a film of a distilled model needs.

    python benchmarks/few_steps.py --prompts 40

Lets the model film the first prompts of the suites "objects" and "animals" in each of STEPS, and prints for
each suite how often both parsers read every atom right, beside real renders, and how long a film took. What
is compared is the same prompts and seeds.
"""

import argparse

from unstatic.core.threads import quiet_threads

quiet_threads()

from functools import partial  # noqa: E402

from unstatic.evals.classical import load_classical  # noqa: E402
from unstatic.evals.follow import follow  # noqa: E402
from unstatic.evals.parser import load_parser  # noqa: E402
from unstatic.evals.prompts import load_suite  # noqa: E402
from unstatic.evals.speed import FilmTimes  # noqa: E402
from unstatic.generate.native import load_native  # noqa: E402
from unstatic.generate.ways import DISTILLED  # noqa: E402
from unstatic.models.manifest import find_model  # noqa: E402
from unstatic.presets.evaluation import SECONDS, Way, enlargement, film  # noqa: E402

STEPS = (1, 2, 3, 4, 6, 8, 12)
SUITES = ("objects", "animals")


def main() -> None:
    """Film, read and print."""
    parser = argparse.ArgumentParser(description="Compare numbers of steps of a distilled model.")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--device")
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS)
    parser.add_argument("--prompts", type=int, default=40, help="of each suite")
    options = parser.parse_args()
    engine = load_native(find_model(options.model), device=options.device)
    readers = [load_parser(), load_classical()]
    for name in SUITES:
        times = FilmTimes(SECONDS)
        makers = {
            f"{steps} steps": times.timed(
                f"{steps} steps", partial(film, engine, way=Way(steps=steps, solver=DISTILLED))
            )
            for steps in options.steps
        }
        suite = load_suite(name).first(options.prompts)
        found = follow(makers, suite, readers, enlarge=enlargement(engine.manifest))
        print(f"{found.to_markdown()}\n\n{times.to_markdown()}\n", flush=True)


if __name__ == "__main__":
    main()
