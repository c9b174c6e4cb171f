"""The live path: a delivery into the buffer queue, and the queue into batch files."""
