"""Merchants: the tenants, and the API keys that act for them."""

from paystate.domain.merchants.rules import (
    SCOPES,
    LatePolicy,
    address_allowed,
    parse_addresses,
    parse_scopes,
    touch_due,
)
from paystate.domain.merchants.store import (
    ApiKey,
    Merchant,
    Principal,
    authenticate,
    create_api_key,
    create_merchant,
    find_merchant_by_name,
    get_key,
    get_merchant,
    list_keys,
    list_merchants,
    revoke_key,
    touch_key,
)

__all__ = [
    "SCOPES",
    "ApiKey",
    "LatePolicy",
    "Merchant",
    "Principal",
    "address_allowed",
    "authenticate",
    "create_api_key",
    "create_merchant",
    "find_merchant_by_name",
    "get_key",
    "get_merchant",
    "list_keys",
    "list_merchants",
    "parse_addresses",
    "parse_scopes",
    "revoke_key",
    "touch_due",
    "touch_key",
]
