"""How `make deploy` calls SAM CLI."""
