"""The record: an item's attributes, its canonical key, a change event, and the line that it becomes. No I/O."""
