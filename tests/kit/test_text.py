"""The one string rule: what it lets through, what it refuses, and with which code."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paystate.kit.errors import Refused
from paystate.kit.text import (
    clean_email,
    clean_origin,
    clean_text,
    looks_like_card,
    origin_of,
    parse_public_url,
)


def code_of(refused: pytest.ExceptionInfo[Refused]) -> str:
    (error,) = refused.value.errors
    return error.code


def reference(value: str, **options) -> str:
    return clean_text(value, pointer="/reference", min_length=1, max_length=255, **options)


HIDDEN = [
    *"\x00\x01\t\n\r\x1f\x7f\x80\x9f",
    *"\u200b\u200c\u200d\u2060\ufeff\u2028\u2029",
    *"\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",
    "\ud800",
    "\udfff",
]


@pytest.mark.parametrize("character", HIDDEN, ids=[f"U+{ord(c):04X}" for c in HIDDEN])
def test_a_hidden_character_is_refused_wherever_it_stands(character):
    for text in (f"a{character}b", f"{character}b", f"a{character}", character):
        with pytest.raises(Refused) as refused:
            reference(text)
        assert code_of(refused) == "invalid_characters"
        assert text not in str(refused.value.errors[0])


@pytest.mark.parametrize("text", [" a", "a ", "   ", "\u00a0a", "a\u3000"])
def test_outer_spaces_are_refused(text):
    with pytest.raises(Refused) as refused:
        reference(text)
    assert code_of(refused) == "invalid_characters"


@pytest.mark.parametrize("text", ["", "x" * 256, "x" * 10_000_000])
def test_a_wrong_length_is_refused(text):
    with pytest.raises(Refused) as refused:
        reference(text)
    assert code_of(refused) == "invalid_length"
    assert refused.value.errors[0].pointer == "/reference"


def test_the_limits_themselves_pass():
    assert reference("x") == "x"
    assert reference("x" * 255) == "x" * 255


def test_a_description_over_its_limit_is_too_long():
    with pytest.raises(Refused) as refused:
        clean_text("é" * 10_001, pointer="/description", max_length=10_000, length_code="too_long")
    assert code_of(refused) == "too_long"


def test_length_counts_after_normalisation():
    assert clean_text("e\u0301" * 5, pointer="/name", max_length=5) == "é" * 5


def test_nfd_and_nfc_become_the_same_text():
    assert reference("Cafe\u0301") == reference("Café") == "Café"


@pytest.mark.parametrize("text", ["a\nb", "a\n\nb"])
def test_lines_pass_only_where_lines_are_allowed(text):
    assert reference(text, single_line=False) == text
    with pytest.raises(Refused):
        reference(text)


@pytest.mark.parametrize("text", ["a\r\nb", "a\tb", "a\x0bb", "a\u2028b", "a\n"])
def test_other_control_characters_are_refused_in_lines_too(text):
    with pytest.raises(Refused):
        reference(text, single_line=False)


@pytest.mark.parametrize(
    "text",
    [
        "<script>",
        "{{7*7}}",
        "${7*7}",
        "=cmd",
        "%n%s",
        "'; DROP TABLE",
        "😀🎟️",
        "שלום עולם",
        "日本語",
        "O'Brien-Müller",
    ],
)
def test_harmless_and_merely_odd_text_passes_unchanged(text):
    assert reference(text) == text


@given(st.text(max_size=60))
def test_what_passes_is_stable_and_encodable(text):
    try:
        clean = reference(text)
    except Refused:
        return
    assert reference(clean) == clean
    assert unicodedata.is_normalized("NFC", clean)
    assert "\0" not in clean.encode().decode()


@pytest.mark.parametrize(
    "text",
    [
        "4111111111111111",
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "my card is 4111111111111111, thanks",
        "on 2026-01-01 with 4111 1111 1111 1111 please",
        "4111\u00a01111\u00a01111\u00a01111",
        "4111–1111–1111–1111",
        "４１１１１１１１１１１１１１１１",
        "5555555555554444",
        "3782 822463 10005",
        "378282246310005",
        "6011000990139424",
        "4222222222222",
        "6304000000000000018",
        "x4111111111111111y",
    ],
)
def test_card_numbers_are_recognised(text):
    assert looks_like_card(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "4111111111111112",
        "411111111111",
        "41111111111111111111111111",
        "order 12345",
        "+27821234567",
        "1700000000000000",
        "0000000000000000",
        "2026-01-01 12:00:00",
        "DE89370400440532013000",
    ],
)
def test_other_numbers_are_not(text):
    assert not looks_like_card(text)


@given(st.integers(min_value=10**11, max_value=10**17 - 1))
def test_every_number_completed_to_luhn_is_found(payload):
    digits = "4" + str(payload)
    candidates = [digits + str(check) for check in range(10)]
    assert sum(looks_like_card(candidate) for candidate in candidates) == 1


@pytest.mark.parametrize(
    ("given_", "kept"),
    [
        ("ann@example.com", "ann@example.com"),
        ("Ann.O'Neil+x@Example.COM", "Ann.O'Neil+x@example.com"),
        ("ann@bücher.example", "ann@xn--bcher-kva.example"),
        ("ann@BÜCHER.example", "ann@xn--bcher-kva.example"),
        ("ann@straße.de", "ann@xn--strae-oqa.de"),
        ("ann@xn--bcher-kva.example", "ann@xn--bcher-kva.example"),
        ("ann@例え.テスト", "ann@xn--r8jz45g.xn--zckzah"),
    ],
)
def test_an_email_address_is_kept_with_an_ascii_domain(given_, kept):
    assert clean_email(given_) == kept


@pytest.mark.parametrize(
    "text",
    [
        "", "a", "@", "a@", "@b.c", "a@b", "a@b.", "a@.b", "a@b..c", "a@-b.c", "a@b-.c", "a@b_c.d",
        "a@b.c\nBcc:x@y.z", "a@b.c\r\n", "a\n@b.c", "a@b.c,d@e.f", "a@b.c d@e.f", "a@b@c.d", "<a@b.c>",
        '"a b"@c.de', "a b@c.de", ".a@b.cd", "a.@b.cd", "a..b@c.de", "a@127.0.0.1", "a@[127.0.0.1]",
        "ä@example.com", "x" * 65 + "@example.com", "a@" + "b" * 64 + ".de", "a@" + "b." * 200 + "de", "a@😀.de",
        "a@b\u202e.de", "a@\ud800.de", "a@b.c\0",
    ],
)  # fmt: skip
def test_what_is_no_single_plain_address_is_refused(text):
    with pytest.raises(Refused) as refused:
        clean_email(text, pointer="/customer/email")
    assert code_of(refused) == "invalid_email"
    assert refused.value.errors[0].pointer == "/customer/email"


def url(value: str, **options) -> str:
    return parse_public_url(value, pointer="/returnUrl", **options)


@pytest.mark.parametrize(
    "value",
    [
        "https://shop.example",
        "https://shop.example/",
        "https://shop.example:8443/thanks?order=1&x=%20a",
        "https://Shop.Example/a/b;c=d?e=f",
        "https://[2001:db8::1]/x",
        "https://xn--bcher-kva.example/x",
        "https://shop.example/" + "x" * 2027,
    ],
)
def test_an_https_url_passes_unchanged(value):
    assert url(value) == value


@pytest.mark.parametrize(
    "value",
    [
        "", "x", "/thanks", "javascript:alert(1)", "JavaScript://shop.example/%0aalert(1)", "data:text/html,x",
        "//evil.example", "https:evil.example", "https:/evil.example", "https:///evil.example", "https:\\\\evil.example",
        "https://shop.example\\@evil.example", "/\\evil.example", "https://ok@evil.example", "https://ok:pw@evil.example",
        "http://shop.example", "http://127.0.0.1/", "ftp://shop.example", "https://", "https://?x", "https://:443/",
        "https://shop.example\r\nX: y", "https://shop.example/\r\nX:y", "https://shop.example/\n", "https://shop.example/ x",
        "https://shop.example/\tx", " https://shop.example", "https://shop.example/#x", "https://shop.example#",
        "https://shop.example:0/", "https://shop.example:99999/", "https://shop.example:65536/", "https://shop.example:/",
        "https://shop.example:-1/", "https://shop.example:8x/", "https://ѕhop.example/", "https://shop。example/",
        "https://shop.example/" + "x" * 2028, "https://shop..example", "https://.example", "https://shop.example./",
        "https://-shop.example", "https://sh%6fp.example", "https://[::1", "https://[x]/", "https://shop.example/<x>",
        'https://shop.example/"x"', "https://shop.example/\ud800", "https://a[b].example", "https://[::ffff:1.2.3.999]/",
        "HTTPS://shop.example", "https://" + "a." * 127 + "example", "https://shop.example/{x}", "https://a_b.example",
    ],
)  # fmt: skip
def test_a_url_that_could_lead_elsewhere_is_refused(value):
    with pytest.raises(Refused) as refused:
        url(value)
    assert code_of(refused) == "url_not_allowed"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8000", "localhost:8420", "[::1]:80"])
def test_plain_http_passes_only_towards_this_machine_and_only_when_allowed(host):
    assert url(f"http://{host}/x", allow_http_loopback=True) == f"http://{host}/x"
    with pytest.raises(Refused):
        url(f"http://{host}/x")


@pytest.mark.parametrize(
    "host", ["shop.example", "localhost.evil.example", "10.0.0.1", "127.1", "2130706433", "[::2]"]
)
def test_plain_http_elsewhere_never_passes(host):
    with pytest.raises(Refused):
        url(f"http://{host}/x", allow_http_loopback=True)


@pytest.mark.parametrize(
    "value",
    [
        "https://shop.example/x",
        "https://SHOP.example/x",
        "https://shop.example:443/x",
        "https://b.example:8443/y?z",
    ],
)
def test_an_allowed_origin_is_compared_after_parsing(value):
    assert url(value, allowed_origins=["https://shop.example", "https://b.example:8443"]) == value


@pytest.mark.parametrize(
    "value",
    [
        "https://shop.example.evil.example/",
        "https://evil.example/?https://shop.example",
        "https://shop.example:8443/",
        "https://b.example/",
        "https://xshop.example/",
        "http://shop.example/",
    ],
)
def test_another_origin_is_refused_when_origins_are_listed(value):
    with pytest.raises(Refused) as refused:
        url(value, allowed_origins=["https://shop.example", "https://b.example:8443"])
    assert code_of(refused) == "url_not_allowed"


def test_an_origin_for_the_allowlist_has_one_form():
    assert clean_origin("https://Shop.Example:443/", pointer="/origins/0") == "https://shop.example"
    assert clean_origin("https://shop.example:8443", pointer="/origins/0") == "https://shop.example:8443"
    for wrong in (
        "https://shop.example/x",
        "https://shop.example/?x",
        "https://shop.example?",
        "http://shop.example",
    ):
        with pytest.raises(Refused):
            clean_origin(wrong, pointer="/origins/0")


def test_the_origin_of_a_url():
    assert origin_of("http://127.0.0.1:8420/x?y") == "http://127.0.0.1:8420"
    with pytest.raises(ValueError, match="plain http"):
        origin_of("javascript:x")


@given(st.text(max_size=40))
def test_no_text_makes_the_rules_fail_otherwise_than_by_refusing(text):
    for rule in (
        lambda: clean_email(text),
        lambda: url(text),
        lambda: url("https://" + text),
        lambda: clean_email("a@" + text),
    ):
        try:
            rule()
        except Refused:
            continue
    looks_like_card(text)
