"""How a member's lines become bytes of a batch file; one module per FILE_FORMAT."""
