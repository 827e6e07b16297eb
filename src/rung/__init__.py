"""rung: adapt a language model to your task with the cheapest method that measurably reaches your goal."""

__version__ = "0.1.0"
