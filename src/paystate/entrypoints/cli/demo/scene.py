"""What every chapter of a demo needs: make payments, steer the fake provider, and read what Paystate knows."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from paystate.entrypoints.cli.demo.cast import Cast, cast_of
from paystate.entrypoints.cli.demo.narrator import Narrator
from paystate.entrypoints.cli.demo.stage import Stage, wait_for
from paystate.entrypoints.cli.demo.web import Reply
from paystate.kit.errors import PaystateError

SOON_SECONDS = 20.0
Chapter = tuple[str, Callable[[], None]]


class FactDiffers(PaystateError):
    """Something is not as the story says."""

    code = "fact_differs"


@dataclass(frozen=True, slots=True)
class Sale:
    """A payment with a checkout at the provider."""

    payment: dict[str, Any]
    reference: str

    @property
    def id(self) -> str:
        return str(self.payment["id"])

    @property
    def code(self) -> str:
        return str(self.payment["shortCode"])


def expect(what: str, found: Any, wanted: Any) -> None:
    """Raise FactDiffers unless both are equal."""
    if found != wanted:
        raise FactDiffers(f"{what}: expected {wanted}, found {found}")


class Scene(ABC):
    """One stage with its story; later chapters may meet the payments of earlier ones."""

    def __init__(self, stage: Stage, narrator: Narrator) -> None:
        self._stage = stage
        self._say = narrator
        self._cast: Cast = cast_of(stage.provider)

    @abstractmethod
    def chapters(self) -> list[Chapter]:
        """Titles and what happens, in order."""

    def audit(self) -> None:
        self._say.did(
            "`paystate audit` checks every invariant in one picture of the database, while the server runs."
        )
        code, report = self._stage.command("audit")
        broken = [check["name"] for check in report["invariants"] if check["count"]]
        expect("broken invariants", broken, [])
        expect("exit code of the audit", code, 0)
        books = self._stage.owner("ledger.trial-balance")
        total = books["totals"][self._cast.currency]
        expect("debits and credits", total["debit"], total["credit"])
        rows = sum(check["count"] for check in report["invariants"])
        self._say.knows(
            f"{len(report['invariants'])} invariants, {rows} rows. The books balance at {total['debitDisplay']} "
            f"{self._cast.currency}."
        )

    def _made(self, reply: Reply) -> dict[str, Any]:
        expect("the answer to the create", reply.status, 201)
        payment: dict[str, Any] = reply.body
        return payment

    def _payment(self, sale: Sale) -> dict[str, Any]:
        payment: dict[str, Any] = self._stage.web.get(f"/api/payments/{sale.id}").body
        return payment

    def _reaches(self, sale: Sale, state: str) -> dict[str, Any]:
        """The payment once it is in this state, as its public status says too."""

        def look() -> dict[str, Any] | None:
            payment = self._payment(sale)
            return payment if payment.get("state") == state else None

        payment: dict[str, Any] = wait_for(f"{state} of {sale.id}", SOON_SECONDS, look)
        public = self._stage.web.get(f"/api/payment-links/{sale.code}/status").body
        expect("the public status", public["currentStatus"], state)
        return payment

    def _evidence(self, sale: Sale) -> dict[str, Any]:
        evidence: dict[str, Any] = self._stage.owner("explain", payment=sale.id)["evidence"]
        return evidence

    def _asked(self, sale: Sale, trigger: str) -> dict[str, Any] | None:
        found = self._evidence(sale)["verifications"]
        return next((entry for entry in found if entry["trigger"] == trigger), None)

    def _open_case(self, sale: Sale) -> dict[str, Any]:
        found: list[dict[str, Any]] = [c for c in self._evidence(sale)["cases"] if c["state"] == "OPEN"]
        expect("open cases", len(found), 1)
        return found[0]

    def _provider(self, outcome: str, sale: Sale, **more: Any) -> None:
        self._control("/_control/outcomes", {"outcome": outcome, "reference": sale.reference, **more})

    def _control(self, path: str, body: dict[str, Any]) -> None:
        reply = self._stage.simulator.post(path, body)
        expect(f"the fake provider's answer to {path}", reply.status < 300, wanted=True)

    def _checkouts(self) -> dict[str, dict[str, Any]]:
        """What the fake provider holds for our account, by its ids."""
        found = self._stage.simulator.get("/_control/objects").body["checkouts"]
        return {c["id"]: c for c in found if c["owner"] == self._stage.account}

    def _at_provider(self, sale: Sale) -> dict[str, Any]:
        return next(c for c in self._checkouts().values() if c["reference"] == sale.reference)
