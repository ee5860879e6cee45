"""wallets"""
