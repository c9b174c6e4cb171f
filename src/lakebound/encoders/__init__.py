"""How records become bytes of a batch file; one module per FILE_FORMAT, all of one schema (`envelope.FIELDS`)."""
