"""What is made when nobody says otherwise; apart, because `--help` shows it without importing torch."""

DEFAULT_MODEL = "nano"
DEFAULT_SECONDS = 4.0
# What makes pixels and frames beyond the model's own (`unstatic.generate.finish`)
UPSCALER, INTERPOLATOR = "realesr", "rife"
WORLD_UPSCALER = "nano"  # for models of our own world
