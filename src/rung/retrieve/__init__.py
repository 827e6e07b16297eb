"""Documents in, passages out: parsed, chunked, embedded, stored, searched."""
