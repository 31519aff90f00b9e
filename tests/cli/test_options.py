"""Help texts that name values which live elsewhere."""

from unstatic.cli import options
from unstatic.diffusion.solver import SOLVERS


def test_the_help_names_every_solver():
    (option,) = options.SolverName.__metadata__
    assert option.help.replace(" or ", ", ").rstrip(".").split(", ") == list(SOLVERS)
