"""Instructions of a provider for a person: which value goes where, as rows to copy, as a QR code, and what to check."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import segno

LABELS: Mapping[str, str] = MappingProxyType(
    {
        "account": "To account",
        "amount": "Amount",
        "memo": "Memo",
        "network": "Network",
        "token": "Token",
    }
)
"""In the order in which a wallet asks; a field without a label is shown under its own name, after these."""

AMOUNT, UNIT, SENTENCE = "amount", "asset", "text"
QR_BORDER = 2
QR_LIMIT = 500
"""Bytes that still make a code which a telephone reads."""


@dataclass(frozen=True, slots=True)
class Row:
    """One value to type in or copy; `unit` is shown beside it and not copied."""

    name: str
    label: str
    value: str
    unit: str = ""


def rows_of(fields: Mapping[str, str]) -> list[Row]:
    """The values in the order in which they are needed."""
    known = [name for name in LABELS if fields.get(name)]
    others = [name for name in fields if name not in LABELS and name not in (UNIT, SENTENCE) and fields[name]]
    return [
        Row(
            name=f"to-{number}",
            label=LABELS.get(name, name),
            value=fields[name],
            unit=fields.get(UNIT, "") if name == AMOUNT else "",
        )
        for number, name in enumerate([*known, *others])
    ]


def checks_of(fields: Mapping[str, str]) -> list[str]:
    """What goes wrong most often, only about what these instructions ask for."""
    unit = f" {fields[UNIT]}" if fields.get(UNIT) else ""
    said = {
        "memo": "Is the memo in the transfer? It is how your payment is recognized. Without it the money arrives, "
        "but a person has to find out whose it is.",
        AMOUNT: f"Is it {fields.get(AMOUNT, '')}{unit}, not less and not more? Fees of the network come on top.",
        "network": f"Is your wallet on {fields.get('network', '')}? Money sent on another network does not arrive here.",
        "token": f"Is it the token {fields.get('token', '')}? Others may carry the same name.",
    }
    asked = [sentence for name, sentence in said.items() if fields.get(name)]
    return [
        *asked,
        "Send once. It usually shows here within seconds; please do not send again while you wait.",
    ]


def qr_of(fields: Mapping[str, str]) -> str | None:
    """The sentence of these instructions as a QR code, as an address that an image can have."""
    sentence = fields.get(SENTENCE, "")
    if not sentence or len(sentence.encode()) > QR_LIMIT:
        return None
    # Black on white also in the dark, with a quiet zone: many readers take nothing else.
    uri: str = segno.make(sentence, error="m").svg_data_uri(border=QR_BORDER, dark="#000", light="#fff")
    return uri
