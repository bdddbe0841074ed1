"""Tasks on sequences: series, sound and text, read from their official formats."""
