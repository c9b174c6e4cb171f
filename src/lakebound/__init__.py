"""Lakebound keeps a lakehouse table equal to a DynamoDB table: every change, in order, exactly typed."""
