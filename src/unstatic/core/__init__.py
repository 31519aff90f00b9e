"""Ground floor: what every other room stands on, and what imports none of them."""
