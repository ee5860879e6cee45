"""Customers: who pays, found by any of the merchant's identifiers."""

from paystate.domain.customers.rules import Identity, read_phone
from paystate.domain.customers.store import (
    Customer,
    CustomerChanges,
    create_customer,
    find,
    find_or_create,
    get_customer,
    list_customers,
    update_customer,
)

__all__ = [
    "Customer",
    "CustomerChanges",
    "Identity",
    "create_customer",
    "find",
    "find_or_create",
    "get_customer",
    "list_customers",
    "read_phone",
    "update_customer",
]
