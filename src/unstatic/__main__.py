"""`python -m unstatic` is `unstatic`; `torchrun -m unstatic` starts it several times."""

from unstatic.cli.main import main

main()
