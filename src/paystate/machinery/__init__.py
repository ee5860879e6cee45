"""Machinery that has never heard of a payment: database, jobs, HTTP, secrets, settings, limits, logs."""
