"""The statistics of the claim: a rung meets the goal, with the chance of a wrong claim bounded over all rungs of a climb."""
