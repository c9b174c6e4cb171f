"""What a release holds, and what wraps its packaged template."""
