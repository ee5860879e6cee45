"""Edges: parse, authenticate, call one flow, answer."""
