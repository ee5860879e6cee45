"""The customers of a merchant: who pays, and by which names they are found."""

from typing import Annotated, Any, Self

from fastapi import Path, Query
from pydantic import ConfigDict, Field, model_validator
from starlette.responses import Response

from paystate.domain import customers
from paystate.domain.customers import Customer, CustomerChanges, Identity
from paystate.domain.merchants import get_merchant
from paystate.entrypoints.api.answers import (
    PageOut,
    expected_version,
    page_answer,
    page_request,
    replayable,
    text_of,
    versioned,
)
from paystate.entrypoints.api.fields import (
    Email,
    In,
    Metadata,
    Name,
    Out,
    PageQuery,
    Phone,
    Reference,
    refused,
)
from paystate.entrypoints.api.guard import Call, Current
from paystate.entrypoints.api.operation import operation, router
from paystate.entrypoints.api.repeat import write_once
from paystate.kit.clock import rfc3339
from paystate.machinery.db import Tx
from paystate.machinery.idempotency import Answer

CustomerId = Annotated[str, Path(alias="customerId", pattern=r"^cus_[0-7][0-9a-hjkmnp-tv-z]{25}$")]
routes = router("/api/customers", "Customers")
_EXAMPLE: dict[str, Any] = {"externalId": "subscriber-77", "phone": "+27821234567", "name": "Ann Example"}


class CustomerIn(In):
    """A new customer, by any names."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    external_id: Reference | None = None
    phone: Phone | None = None
    email: Email | None = None
    name: Name | None = None
    metadata: Metadata = Field(default_factory=dict)


class CustomerPatch(In):
    """What changes; null empties."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "Ann B. Example"}]})

    external_id: Reference | None = None
    phone: Phone | None = None
    email: Email | None = None
    name: Name | None = None
    metadata: Metadata | None = None

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if not self.model_fields_set:
            raise refused("nothing_to_change", "Name at least one field.")
        return self


class CustomerOut(Out):
    """A customer as its merchant sees it."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"id": "cus_06d3p3zv4kqg8c5x2m7w9t1nre", **_EXAMPLE}]}
    )

    id: str
    external_id: str | None
    phone: str | None
    email: str | None
    name: str | None
    metadata: dict[str, str]
    version: int
    created_at: str
    updated_at: str


@routes.post(
    "", **operation("createCustomer", "payments:write", CustomerOut, "customer_conflict", status=201)
)
async def create(call: Current, body: CustomerIn) -> Response:
    """A new customer; one whose names are taken is a conflict that says by whom."""

    def work(tx: Tx) -> Answer:
        identity = _identity(call, tx, body.external_id, body.phone, body.email)
        made = customers.create_customer(tx, call.who, identity, name=body.name, metadata=body.metadata)
        return Answer(made.id, 201, text_of(customer_out(made)))

    return replayable(await write_once(call, work))


@routes.get("", **operation("listCustomers", "payments:read", PageOut[CustomerOut]))
async def list_all(call: Current, query: Annotated[PageQuery, Query()]) -> Response:
    """The merchant's customers, newest first."""
    page = page_request(call, "customers", query)
    found = await call.db.read(lambda tx: customers.list_customers(tx, call.who, page))
    return page_answer(call, "customers", found, customer_out)


@routes.get("/{customerId}", **operation("getCustomer", "payments:read", CustomerOut, "not_found"))
async def get_one(call: Current, customer_id: CustomerId) -> Response:
    """One customer."""
    found = await call.db.read(lambda tx: customers.get_customer(tx, call.who, customer_id))
    return versioned(call.request, customer_out(found), found.version)


@routes.patch(
    "/{customerId}",
    **operation(
        "updateCustomer", "payments:write", CustomerOut, "not_found", "customer_conflict", "version_conflict"
    ),
)
async def update(call: Current, customer_id: CustomerId, body: CustomerPatch) -> Response:
    """Change a customer; customers never merge."""
    version = expected_version(call.request)

    def work(tx: Tx) -> Customer:
        return customers.update_customer(tx, call.who, customer_id, _changes(call, tx, body), version=version)

    after = await call.db.write(work)
    return versioned(call.request, customer_out(after), after.version)


def _changes(call: Call, tx: Tx, body: CustomerPatch) -> CustomerChanges:
    given = body.model_fields_set
    identity = _identity(call, tx, body.external_id, body.phone, body.email)
    values: dict[str, Any] = {
        name: getattr(identity, name) for name in ("external_id", "phone", "email") if name in given
    }
    if "name" in given:
        values["name"] = body.name
    return CustomerChanges(metadata=body.metadata, **values)


def _identity(call: Call, tx: Tx, external_id: str | None, phone: str | None, email: str | None) -> Identity:
    region = get_merchant(tx, call.who, call.who).default_region or call.desk.app.settings.default_region
    return Identity.read(external_id=external_id, phone=phone, email=email, region=region)


def customer_out(customer: Customer) -> CustomerOut:
    """The customer as it is shown."""
    return CustomerOut(
        id=customer.id,
        external_id=customer.external_id,
        phone=customer.phone,
        email=customer.email,
        name=customer.name,
        metadata=dict(customer.metadata),
        version=customer.version,
        created_at=rfc3339(customer.created_at),
        updated_at=rfc3339(customer.updated_at),
    )
