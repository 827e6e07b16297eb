"""What `rung init` writes: a task folder to edit, and questions drafted from documents."""
