"""Labelling: rows drawn for a person to answer, what is written of them, and how far a decision then is."""
