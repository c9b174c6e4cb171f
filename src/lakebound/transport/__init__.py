"""What moves records: keys in the bucket, members and messages, batch files, quarantine."""
