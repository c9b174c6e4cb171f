"""Facts about the source table and its stream: until when delivery is proved, and its gaps."""
