"""Other programs that write free text in place of rung's own engine: one file and one row of `table.TABLE` each."""
