"""Help texts that name values which live elsewhere."""

from unstatic.cli import options
from unstatic.diffusion.solver import SOLVERS
from unstatic.generate.request import DISTILLED


def test_the_help_names_every_solver():
    (option,) = options.SolverName.__metadata__
    plain, _, learned = option.help.partition("; ")
    assert plain.replace(" or ", ", ").split(", ") == list(SOLVERS)
    assert learned == f"some models: {DISTILLED}."
