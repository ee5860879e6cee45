"""The HTTP API: one file per resource, each endpoint parses, calls one flow, and answers."""
