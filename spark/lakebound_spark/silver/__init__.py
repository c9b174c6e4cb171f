"""Silver: typed columns, the guarded MERGE, the table and its views."""
