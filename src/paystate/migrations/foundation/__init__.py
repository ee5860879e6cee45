"""The first migration, one file per model; history, not to be edited."""
