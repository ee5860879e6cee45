"""Orders: line items bought together, what fulfils them, and the tickets they issue."""
