"""Orders: line items bought together, what fulfils them, and the tickets they issue."""

from paystate.domain.orders.store import UnpaidOrder, decline, pending_since

__all__ = ["UnpaidOrder", "decline", "pending_since"]
