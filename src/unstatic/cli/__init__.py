"""The command line: one file per command group, torch imported only when a command runs."""
