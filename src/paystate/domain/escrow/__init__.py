"""Escrow: money held for a payee until the order completes."""
