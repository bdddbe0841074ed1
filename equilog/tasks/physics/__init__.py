"""Tasks from physics of fields, structures and circuits: targets come from a trusted solver, the score is an error."""
