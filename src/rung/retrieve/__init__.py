"""Documents in, passages out: parsed, cut, embedded, stored, searched."""
