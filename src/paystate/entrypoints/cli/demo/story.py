"""The story of the sandbox, the main one: every chapter does something, then reads what Paystate knows and fails if a fact differs."""

import threading
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

from paystate.entrypoints.cli.demo.narrator import Narrator
from paystate.entrypoints.cli.demo.scene import SOON_SECONDS, Chapter, Sale, Scene, expect
from paystate.entrypoints.cli.demo.stage import Stage, wait_for
from paystate.entrypoints.cli.demo.web import Reply
from paystate.kit.clock import monotonic

EXPIRES_IN_SECONDS = 1_800
PRICE, HALF_PRICE = 14_900, 7_450


class Story(Scene):
    """The chapters; later ones may meet the payments of earlier ones."""

    def __init__(self, stage: Stage, narrator: Narrator) -> None:
        super().__init__(stage, narrator)
        self._expired: Sale | None = None
        self._now = ""
        self._lost: list[str] = []

    def chapters(self) -> list[Chapter]:
        """Titles and what happens, in order."""
        return [
            ("Paid, with the webhook", self.paid_with_webhook),
            ("Paid, and every webhook is lost", self.paid_without_webhooks),
            ("A return that was made up", self.invented_return),
            ("The wrong amount", self.wrong_amount),
            ("The same bundle twice", self.same_bundle_twice),
            ("Killed in the middle of a checkout", self.killed_and_restarted),
            ("Abandoned", self.abandoned),
            ("Paid after the end", self.paid_too_late),
            ("The audit", self.audit),
        ]

    def paid_with_webhook(self) -> None:
        sale = self._sale("Ceylon, 500 g")
        self._provider("pay", sale)
        self._say.did(
            "The merchant's program made a payment of €149.00, the customer paid at the provider, and the provider "
            "sent its webhook."
        )
        payment = self._reaches(sale, "PAID")
        money = payment["transactionInfo"] or {}
        expect("amount received", (money.get("amount"), money.get("currency")), (PRICE, "EUR"))
        asked = self._evidence(sale)["verifications"][0]
        expect("what the provider's API said", (asked["outcome"], asked["decision"]), ("SUCCEEDED", "paid"))
        self._say.knows(
            f"PAID, because the provider's own API was asked and proved transaction {money['transactionId']}. The "
            "webhook only said when to ask."
        )

    def paid_without_webhooks(self) -> None:
        self._control("/_control/faults", {"operation": "webhook", "kind": "drop"})
        sale = self._sale("Assam, 500 g")
        self._provider("pay", sale)
        self._say.did("The customer paid and closed the tab; every webhook of the provider was dropped.")
        started = monotonic()
        self._reaches(sale, "PAID")
        self._stage.simulator.delete("/_control/faults")
        self._say.knows(
            f"PAID all the same, {monotonic() - started:.1f} seconds later: a waiting payment carries its own next "
            "check, every few seconds while it is fresh."
        )

    def invented_return(self) -> None:
        sale = self._sale("Darjeeling, 500 g")
        self._stage.web.get(
            f"/pay/{sale.code}/return?status=success&paid=true&transaction=tx_123&amount=14900"
        )
        self._say.did(
            "Somebody opened the return address with status=success and a made-up transaction in it."
        )
        asked = wait_for("a check after the return", SOON_SECONDS, lambda: self._asked(sale, "return"))
        payment = self._payment(sale)
        expect("state", payment["state"], "PENDING_VERIFICATION")
        expect("transaction", payment["transactionInfo"], None)
        expect("what the provider said", asked["outcome"], "PENDING")
        self._say.knows(
            "Not paid. The return only made Paystate ask at once; the provider said PENDING, and nothing was issued."
        )

    def wrong_amount(self) -> None:
        sale = self._sale("Oolong, 500 g")
        self._provider("pay", sale, amount=HALF_PRICE)
        self._say.did("The provider says paid, but €74.50 instead of €149.00.")
        payment = self._reaches(sale, "REQUIRES_MANUAL_REVIEW")
        expect("flag partial", payment["flags"]["partial"], wanted=True)
        case = self._open_case(sale)
        expect("reason of the case", case["reason"], "amount_mismatch")
        self._say.knows(
            f"REQUIRES_MANUAL_REVIEW with case {case['id']}: the money is booked as unapplied, nothing was issued, and "
            "a person decides."
        )

    def same_bundle_twice(self) -> None:
        order = {
            "customer": {"externalId": f"subscriber-{self._stage.account[-4:]}"},
            "bundleId": "fibre-50",
            "planName": "Fibre 50",
        }
        first = self._sale("Fibre 50, November", **order)
        refused = self._create("Fibre 50, November", **order)
        expect("status of the second", (refused.status, refused.body["code"]), (409, "PENDING_SAME_BUNDLE"))
        actions = refused.body["actions"]
        expect("ways out", sorted(actions), ["cancel", "complete"])
        page = _path(actions["cancel"]["url"])
        expect("the page with the button", self._stage.web.get(page).status, 200)
        expect("a page that was only looked at changes nothing", self._payment(first)["state"], "OPEN")
        self._say.did(
            "The customer asked for the same bundle twice. The second answer was 409 with two ways out: "
            f"“{actions['complete']['label']}” and “{actions['cancel']['label']}”. The customer pressed the second."
        )
        pressed = self._stage.web.press(page)
        expect("the button", pressed.status, 303)
        expect("the first payment", self._payment(first)["state"], "CANCELED")
        expect("its checkout at the provider", self._at_provider(first)["status"], "closed")
        code = (pressed.location or "").rsplit("/", 1)[-1]
        status = self._stage.web.get(f"/api/payment-links/{code}/status").body
        expect("the new payment", status["currentStatus"], "OPEN")
        self._say.knows(
            "The old checkout is closed at the provider, its payment is CANCELED, the new one is OPEN."
        )

    def killed_and_restarted(self) -> None:
        payment = self._made(self._create("Earl Grey, 500 g"))
        self._control(
            "/_control/faults", {"operation": "start", "kind": "slow", "acts": True, "seconds": 5, "times": 1}
        )
        before = set(self._checkouts())
        customer = threading.Thread(target=self._lost_checkout, args=(payment["shortCode"],), daemon=True)
        customer.start()
        made = wait_for(
            "the provider's checkout", SOON_SECONDS, lambda: next(iter(set(self._checkouts()) - before), None)
        )
        self._stage.kill_server()
        customer.join(SOON_SECONDS)
        self._stage.start_server()
        expect("what the customer's page saw", self._lost, wanted=["no answer"])
        self._say.did(
            "The server was killed with SIGKILL after the provider had made a checkout and before its answer arrived. "
            "Then it was started again, and the customer pressed “pay” once more."
        )
        self._stage.owner("verify", payment=payment["id"])
        checkout = self._stage.web.post(f"/api/payment-links/{payment['shortCode']}/checkout", {})
        expect("the checkout after the restart", checkout.status, 200)
        expect("checkouts at the provider", set(self._checkouts()) - before, {made})
        expect("where the customer is sent", checkout.body["redirectUrl"].rsplit("/", 1)[-1], made)
        sale = Sale(payment, self._checkouts()[made]["reference"])
        self._provider("pay", sale)
        self._reaches(sale, "PAID")
        self._say.knows(
            "Nothing was lost and nothing was doubled: the stored request was sent again under its own key, the provider "
            "answered with the same checkout, and it is PAID."
        )

    def abandoned(self) -> None:
        sale = self._sale("Sencha, 500 g", expiresIn=EXPIRES_IN_SECONDS)
        _, answer = self._stage.command("clock", "advance", "31m")
        self._now = answer["now"]
        self._say.did(
            "A payment with half an hour to live, a started checkout, and a customer who went away. "
            "`paystate clock advance 31m` let the time pass."
        )
        self._reaches(sale, "EXPIRED")
        expect("its checkout at the provider", self._at_provider(sale)["status"], "closed")
        outcomes = [entry["outcome"] for entry in self._evidence(sale)["verifications"]]
        expect("the provider's last word before the end", outcomes[0], "CANCELED")
        self._expired = sale
        self._say.knows(
            "EXPIRED, but not blindly: the provider was asked once more and its checkout closed first, so that it can no "
            "longer be paid."
        )

    def paid_too_late(self) -> None:
        sale = self._expired
        assert sale is not None, "the chapter before has told of it"
        self._provider("pay", sale, paidAt=self._now)
        self._say.did(
            "A bank transfer for that very checkout came in after all. Expired payments are looked at again after 1, 3 and "
            f"7 days; here we ask now: `paystate verify --payment {sale.id}`."
        )
        self._stage.command("verify", "--payment", sale.id)
        payment = self._reaches(sale, "REQUIRES_MANUAL_REVIEW")
        expect("flag late", payment["flags"]["late"], wanted=True)
        case = self._open_case(sale)
        expect("reason of the case", case["reason"], "late")
        self._say.knows(
            f"Caught: flagged late, booked as unapplied, case {case['id']} suggests to {case['suggestedAction']} it. Late "
            "money is never lost and never quietly accepted."
        )

    def _sale(self, description: str, **more: Any) -> Sale:
        """A payment, and a checkout that the customer has started."""
        payment = self._made(self._create(description, **more))
        before = set(self._checkouts())
        started = self._stage.web.post(f"/api/payment-links/{payment['shortCode']}/checkout", {})
        expect("the checkout", started.status, 200)
        found = self._checkouts()
        new = set(found) - before
        expect("new checkouts at the provider", len(new), 1)
        return Sale(payment, found[new.pop()]["reference"])

    def _create(self, description: str, **more: Any) -> Reply:
        body = {"amount": PRICE, "currency": "EUR", "description": description, **more}
        return self._stage.web.post("/api/payments", body)

    def _lost_checkout(self, code: str) -> None:
        """The request that the kill cuts off; that it has no answer is the point."""
        try:
            reply = self._stage.web.post(f"/api/payment-links/{code}/checkout", {})
            self._lost.append(f"status {reply.status}")
        except (OSError, HTTPException):
            self._lost.append("no answer")


def _path(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path
