"""Few rows where few tell: looks set beforehand, and the course of one rung or of many trials over them."""
