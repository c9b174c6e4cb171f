"""What reaches the world: AWS through botocore, folders, the clock, the functions' metrics."""
