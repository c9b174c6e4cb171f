"""The ports' adapters: boto3's, and the local twins that the tests and the local tools use."""
