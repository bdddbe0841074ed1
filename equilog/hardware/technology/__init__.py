"""An analog technology as data: its parts, every number with its source, presets, checks, and imports."""
