"""Lakebound on Spark: batch files in, a Delta table equal to the DynamoDB table out."""
