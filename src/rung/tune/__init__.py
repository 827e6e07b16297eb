"""`rung tune`: settings of a method as trials of a race."""
