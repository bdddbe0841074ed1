"""How figures look and numbers read, wherever they are shown."""
