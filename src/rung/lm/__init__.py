"""Language models: finding, loading, prompting, prefix trees, inference and training. The only folder that imports torch."""

from rung.lm.openmp import limit_spinning

limit_spinning()
