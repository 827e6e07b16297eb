"""The flowchart: questions about the task, their answers, and which method families to try now, later, or not at all."""
