"""The platform below every job: the session, its versions, tables and objects, streams, the shell of a job."""
