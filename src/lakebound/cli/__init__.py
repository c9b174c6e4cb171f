"""The operator's command, `lakebound`: arguments in, one use case called, its result told."""
