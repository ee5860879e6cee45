"""What Paystate does, one verb per file: the only place where rooms meet and transactions open."""
