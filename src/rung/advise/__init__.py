"""The flowchart: questions about the task, their answers, and which ways of adapting a model to try first, later, or not."""
