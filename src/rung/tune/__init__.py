"""`rung tune`: races settings of a method."""
