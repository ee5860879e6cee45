"""The story of one real provider's fake: what this provider can express, by hand through its page, and then the audit."""

from typing import Any
from urllib.parse import urlencode

from paystate.entrypoints.cli.demo.customer import Customer, Form, Seen
from paystate.entrypoints.cli.demo.narrator import Narrator
from paystate.entrypoints.cli.demo.scene import SOON_SECONDS, Chapter, Sale, Scene, expect
from paystate.entrypoints.cli.demo.stage import Stage, wait_for
from paystate.kit.clock import monotonic

EXPIRY, CVC = "12/39", "123"
MADE_UP = "1f6d2c0e-0000-4000-8000-000000000000"


class ProviderStory(Scene):
    """Chapters that need no more than the provider has."""

    def __init__(self, stage: Stage, narrator: Narrator) -> None:
        super().__init__(stage, narrator)
        self._customer = Customer()
        told = self._stage.web.get("/api/providers").body["data"]
        self._can = next(p["capabilities"] for p in told if p["name"] == stage.provider)

    def chapters(self) -> list[Chapter]:
        chapters: list[Chapter] = [("Paid by hand", self.paid_by_hand)]
        if self._cast.asks_by_itself:
            chapters.append(("Paid, and nobody says so", self.paid_in_silence))
        else:
            chapters.append(("Paid, and the browser never comes back", self.paid_without_return))
        chapters += [
            ("A return that was made up", self.invented_return),
            ("The wrong amount", self.wrong_amount),
        ]
        if self._cast.declined_card:
            chapters.append(("Declined, then paid", self.declined_then_paid))
        if "close" in self._can:
            chapters.append(("Canceled", self.canceled))
        else:
            chapters.append(("Canceled, and paid all the same", self.canceled_and_paid))
        return [*chapters, ("The audit", self.audit)]

    def paid_by_hand(self) -> None:
        sale = self._sale("Ceylon, 500 g")
        page = self._through_the_pay_page(sale)
        self._say.did(
            f"The customer opened the pay page, chose {self._stage.provider}, {self._how()}, and "
            f"{'came back' if self._cast.card else 'watched the pay page'}: pages and buttons, nothing was forced."
        )
        back = self._pay(page, self._cast.card)
        if self._cast.card:
            expect("where the customer ends", back.url, f"{self._stage.base_url}/pay/{sale.code}")
        payment = self._reaches(sale, "PAID")
        money = payment["transactionInfo"] or {}
        received = (money.get("amount"), money.get("currency"))
        expect("amount received", received, (self._cast.price, self._cast.currency))
        self._say.knows(
            f"PAID {payment['amountDisplay']}: the provider was asked and proved transaction {money['transactionId']}."
        )

    def paid_in_silence(self) -> None:
        sale = self._started("Assam, 500 g")
        if "webhooks" in self._can:
            self._control("/_control/faults", {"operation": "webhook", "kind": "drop"})
        self._provider("pay", sale)
        self._say.did("The customer paid and went away, and no message of the provider arrived.")
        began = monotonic()
        self._reaches(sale, "PAID")
        self._stage.simulator.delete("/_control/faults")
        self._say.knows(
            f"PAID all the same, {monotonic() - began:.1f} seconds later: a waiting payment carries its own next check."
        )

    def paid_without_return(self) -> None:
        sale = self._started("Assam, 500 g")
        self._provider("pay", sale)
        self._say.did(
            "The customer paid and closed the tab. This provider answers no question about our own reference: it has "
            "to be asked with a handle that only its messages carry, and nobody signs those."
        )
        self._reaches(sale, "PAID")
        self._say.knows(
            "PAID: the unsigned message only said what to ask with. The answer named our reference and the amount."
        )

    def invented_return(self) -> None:
        sale = self._started("Darjeeling, 500 g")
        made_up = {"Reference": sale.reference, "RequestTrace": MADE_UP, "TransactionAccepted": "true"}
        self._stage.web.get(f"/pay/{sale.code}/return?status=success&paid=true")
        self._stage.web.get(f"/pay/return/{self._stage.connection}?{urlencode(made_up)}")
        self._say.did(
            "Somebody opened the return addresses with status=success and a made-up transaction in them."
        )
        asked = wait_for("a check after the return", SOON_SECONDS, lambda: self._asked(sale, "return"))
        payment = self._payment(sale)
        expect("transaction", payment["transactionInfo"], None)
        expect("what the provider said", asked["outcome"], "PENDING")
        self._say.knows(
            f"Not paid ({payment['state']}): it only made Paystate ask at once, and the answer was PENDING."
        )

    def wrong_amount(self) -> None:
        sale = self._started("Oolong, 500 g")
        self._provider("pay", sale, amount=self._cast.price // 2)
        self._say.did("Half of the amount arrived.")
        if "transfers" in self._can:
            self._adds_up(sale)
            return
        payment = self._reaches(sale, "REQUIRES_MANUAL_REVIEW")
        expect("flag partial", payment["flags"]["partial"], wanted=True)
        case = self._open_case(sale)
        expect("reason of the case", case["reason"], "amount_mismatch")
        self._say.knows(
            f"REQUIRES_MANUAL_REVIEW with case {case['id']}: booked as unapplied, and a person decides."
        )

    def _adds_up(self, sale: Sale) -> None:
        """Where customers send the money themselves, half is a part and no mistake."""
        half = wait_for("the part", SOON_SECONDS, lambda: self._partly(sale))
        expect("transaction", half["transactionInfo"], None)
        self._say.knows(
            f"{half['state']}, flagged partial: it is booked as unapplied, and the rest may still come."
        )

    def _partly(self, sale: Sale) -> Any:
        payment = self._payment(sale)
        return payment if payment["flags"]["partial"] else None

    def declined_then_paid(self) -> None:
        sale = self._sale("Sencha, 500 g")
        page = self._pay(self._through_the_pay_page(sale), self._cast.declined_card)
        if page.url.startswith(self._stage.base_url):
            wait_for("another try", SOON_SECONDS, lambda: self._can_be_paid(sale))
            page = self._through_the_pay_page(sale)
        self._say.did("The first card was declined, and the customer took another one.")
        self._pay(page, self._cast.card)
        self._reaches(sale, "PAID")
        tries = len({c["id"] for c in self._checkouts().values() if c["description"] == "Sencha, 500 g"})
        self._say.knows(
            f"PAID, by {'the same checkout' if tries == 1 else 'a second checkout under a reference of its own'}."
        )

    def canceled(self) -> None:
        sale = self._started("Fibre 50")
        pressed = self._stage.web.press(f"/pay/{sale.code}/cancel")
        expect("the button", pressed.status, 303)
        self._reaches(sale, "CANCELED")
        expect("its checkout at the provider", self._at_provider(sale)["status"], "closed")
        self._say.did("The customer canceled on the pay page.")
        self._say.knows("CANCELED, and its checkout at the provider is closed: it can no longer be paid.")

    def canceled_and_paid(self) -> None:
        sale = self._started("Fibre 50")
        self._stage.web.press(f"/pay/{sale.code}/cancel")
        self._reaches(sale, "CANCELED")
        self._provider("pay", sale)
        self._say.did(
            "The customer canceled. This provider cannot end what it has offered, and the customer paid after all."
        )
        self._stage.owner("verify", payment=sale.id)
        payment = self._reaches(sale, "REQUIRES_MANUAL_REVIEW")
        expect("flag late", payment["flags"]["late"], wanted=True)
        self._say.knows(
            f"Caught: flagged late, booked as unapplied, case {self._open_case(sale)['id']} waits for a person."
        )

    def _sale(self, description: str) -> Sale:
        """A payment without a checkout."""
        return Sale(self._stage.new_payment(self._cast.price, self._cast.currency, description), "")

    def _started(self, description: str) -> Sale:
        """A payment whose customer is on the provider's page."""
        sale = self._sale(description)
        before = set(self._checkouts())
        self._through_the_pay_page(sale)
        new = [c for i, c in self._checkouts().items() if i not in before]
        expect("new checkouts at the provider", len(new), 1)
        return Sale(sale.payment, new[0]["reference"])

    def _through_the_pay_page(self, sale: Sale) -> Seen:
        """From our page to the provider's, by its buttons; into a wallet what the instructions say is typed."""
        page = self._customer.open(f"{self._stage.base_url}/pay/{sale.code}")
        page = self._customer.submit(page.form(provider=self._stage.provider))
        if not page.url.startswith(self._stage.base_url):
            return page
        answer: dict[str, Any] = self._stage.web.post(f"/api/payment-links/{sale.code}/checkout", {}).body
        if answer["form"] is not None:
            return self._customer.submit(page.form(**answer["form"]["fields"]))
        told = answer["instructions"]["fields"]
        typed = {name: told[name] for name in ("account", "amount", "asset", "memo")}
        return self._customer.submit(Form(f"{self._stage.simulator_url}/wallet", typed))

    def _pay(self, page: Seen, card: str | None) -> Seen:
        """Pay on the provider's page, and go back as it leads: by redirect, by a form, or by a link."""
        if card is None:
            return self._customer.submit(page.form(act="pay"))
        form = page.form(act="pay_by_card")
        return self._back(self._customer.submit(form, number=card, expiry=EXPIRY, cvc=CVC))

    def _back(self, after: Seen) -> Seen:
        """Where a way back leads, if there is one: after a declined card there may be none."""
        ours = self._stage.base_url
        links = [link for link in after.links if link.startswith(ours)]
        forms = [form for form in after.forms if form.action.startswith(ours)]
        if after.url.startswith(ours) or not (links or forms):
            return after
        return self._customer.open(links[0]) if links else self._customer.submit(forms[0])

    def _can_be_paid(self, sale: Sale) -> bool | None:
        return True if self._payment(sale)["state"] in ("OPEN", "FAILED") else None

    def _how(self) -> str:
        return f"paid by card {self._cast.card}" if self._cast.card else "sent the money from a wallet"
