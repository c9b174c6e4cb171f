"""The formats of batch files: NDJSON in gzip members, Avro blocks, Parquet."""
