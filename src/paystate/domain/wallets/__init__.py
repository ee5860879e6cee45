"""Wallets: a payee's balance with us."""
