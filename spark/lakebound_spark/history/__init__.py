"""History: which image was visible from when to when."""
