"""Tasks from dynamical systems: targets are physical quantities, the score is an error."""
