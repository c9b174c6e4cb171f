"""From batch files to records: which files are data, whether each is whole, one row a key."""
