"""The wallet: a form with account, amount, asset and memo, and then a page on which the money is sent or not."""

from html import escape

from paystate.kit.money import MAX_AMOUNT, parse_major
from paystate.simulators.calls import Call, Operation
from paystate.simulators.faults import Subject
from paystate.simulators.hedera.dialect import HederaDialect
from paystate.simulators.stage import Answer
from paystate.simulators.till import Account, Checkout, Status, Till

ASSETS = ("HBAR", "USDC")
MEMO_BYTES = 100


class Wallet:
    """What a customer types, or a test posts. The network learns nothing until the money is sent."""

    def __init__(self, till: Till) -> None:
        self._till = till

    def serve(self) -> None:
        self._till.serve("GET", HederaDialect.page_path, Operation("wallet", self.form, public=True))
        start = Operation("start", self.fill_in, _memo_in_form, public=True, raw=True)
        self._till.serve("POST", HederaDialect.page_path, start)

    def form(self, call: Call) -> Answer:
        """Empty, or filled in from the address."""
        return _form(dict(call.request.query))

    def fill_in(self, call: Call) -> Answer:
        """On to the page of this transfer, or the form again with what is wrong."""
        given = {name: value for name, value in (call.body or {}).items() if isinstance(value, str)}
        account = self._till.state.accounts.get(given.get("account", "").strip())
        if account is None:
            return _form(given, "INVALID_ACCOUNT_ID")
        asset = given.get("asset", "")
        amount = _amount(given.get("amount", ""), asset)
        if amount is None:
            return _form(given, "INVALID_ACCOUNT_AMOUNTS")
        if len(given.get("memo", "").encode()) > MEMO_BYTES:
            return _form(given, "MEMO_TOO_LONG")
        if asset == "USDC" and account.extra.get("associated") == "no":
            return _form(given, "TOKEN_NOT_ASSOCIATED_TO_ACCOUNT")
        checkout = self._till.acts.opened(self._transfer(account, amount, asset, given.get("memo", "")))
        page = self._till.dialect.page_url(checkout)
        return Answer(303, b"", {"Location": page}, content_type="text/html")

    def _transfer(self, account: Account, amount: int, asset: str, memo: str) -> Checkout:
        now = self._till.stage.now()
        return Checkout(
            id=self._till.dialect.new_id("checkout", account, now),
            owner=account.id,
            account=account.id,
            live=account.live,
            reference=memo,
            amount=amount,
            currency=asset,
            description=f"To {account.id}",
            status=Status.OPEN,
            return_url="",
            cancel_url="",
            webhook_url=None,
            created_at=now,
            updated_at=now,
            expires_at=None,
        )


def _amount(text: str, asset: str) -> int | None:
    """In the smallest units; None for what cannot be sent."""
    if asset not in ASSETS:
        return None
    try:
        amount = parse_major(text.strip(), asset).amount
    except ValueError:
        return None
    return amount if 0 < amount <= MAX_AMOUNT else None


def _memo_in_form(call: Call) -> Subject:
    memo = (call.body or {}).get("memo")
    return Subject(memo if isinstance(memo, str) else None)


def _form(given: dict[str, str], wrong: str = "") -> Answer:
    def field(name: str, label: str) -> str:
        value = escape(given.get(name, ""))
        return f'<p><label>{label} <input name="{name}" value="{value}"></label></p>'

    chosen = given.get("asset", "HBAR")
    options = "".join(f"<option{' selected' if asset == chosen else ''}>{asset}</option>" for asset in ASSETS)
    note = f'<p role="alert">{escape(wrong)}</p>' if wrong else ""
    page = f"""<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">
<title>Hedera Wallet</title></head><body><h1>Send</h1>{note}<form method="post" action="{HederaDialect.page_path}">
{field("account", "To account")}{field("amount", "Amount")}
<p><label>Asset <select name="asset">{options}</select></label></p>{field("memo", "Memo")}
<p><button>Continue</button></p></form></body></html>"""
    return Answer(200, page.encode(), content_type="text/html")
