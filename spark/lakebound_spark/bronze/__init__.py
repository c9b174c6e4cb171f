"""Bronze: every record as it is, appended once."""
