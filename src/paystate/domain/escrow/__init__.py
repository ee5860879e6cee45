"""escrow"""
