"""What is made when nobody says otherwise; apart, because `--help` shows it without importing torch."""

DEFAULT_MODEL = "nano"
DEFAULT_SECONDS = 4.0
