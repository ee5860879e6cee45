"""Outside services, one vendor per file, each behind a port."""
