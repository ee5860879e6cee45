"""Secrets never show, sealed texts open only in their place, weak keys are refused (threats T18, T35, T36)."""

import base64
import copy
import hashlib
import json
import pickle
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paystate.machinery.secrets import (
    KeyRing,
    SealBroken,
    Secret,
    WeakKey,
    ct_eq,
    fingerprint,
    generate_key_text,
    new_api_key,
)

CANARY = "sk_live_TOPSECRET"
PLACE = "connections.secret.con_1.mer_1"


def ring(*kids: str, current: str = "a") -> KeyRing:
    return KeyRing({kid: secrets.token_bytes(32) for kid in kids or ("a",)}, current)


def test_comparison_takes_bytes_of_any_length():
    assert ct_eq(b"abc", b"abc")
    assert not ct_eq(b"abc", b"abd")
    assert not ct_eq(b"abc", b"abcd")
    assert not ct_eq("é".encode(), b"e")


def test_a_secret_shows_itself_nowhere():
    secret = Secret(CANARY)
    shown = [
        str(secret),
        repr(secret),
        f"{secret}",
        f"{secret:>20}",
        "{}".format(secret),  # noqa: UP032 -- the old way must be silent too
        f"{[secret]} { ({'a': secret}) }",
    ]
    shown.append(json.dumps({"key": secret}, default=str))
    assert all("TOPSECRET" not in text and "***" in text for text in shown)
    assert secret.reveal() == CANARY


def test_a_secret_is_neither_pickled_nor_lost_by_copying():
    secret = Secret(CANARY)
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    assert copy.copy(secret) == copy.deepcopy({"a": secret})["a"] == secret


def test_secrets_compare_by_their_text():
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert Secret("é") != Secret("\ud800")
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2
    assert not Secret("")


@given(st.binary(max_size=300), st.text(max_size=50))
def test_what_is_sealed_opens_again(plaintext, place):
    keys = ring()
    try:
        place.encode()
    except UnicodeEncodeError:
        return
    sealed = keys.seal(plaintext, aad=place)
    assert keys.open(sealed, aad=place) == plaintext


def test_the_sealed_form_names_its_key_and_hides_the_rest():
    keys = ring("2026-a", current="2026-a")
    first, second = (keys.seal(CANARY.encode(), aad=PLACE) for _ in range(2))
    assert first.startswith("v1.2026-a.")
    assert first != second
    assert first.isascii()
    assert CANARY not in first


def test_a_ciphertext_copied_to_another_row_does_not_open():
    keys = ring()
    sealed = keys.seal(b"x", aad="connections.secret.con_1.mer_1")
    with pytest.raises(SealBroken):
        keys.open(sealed, aad="connections.secret.con_1.mer_2")


def test_every_altered_character_is_noticed():
    keys = ring()
    sealed = keys.seal(b"some text", aad=PLACE)
    for place in range(len(sealed)):
        altered = sealed[:place] + ("B" if sealed[place] != "B" else "C") + sealed[place + 1 :]
        if altered[:-1] == sealed[:-1]:
            continue  # the last character also carries padding bits
        with pytest.raises(SealBroken):
            keys.open(altered, aad=PLACE)


@pytest.mark.parametrize(
    "text", ["", "v1", "v1.a", "v1.a.", "v1.a.AAAA", "v2.a.AAAA", "v1.zz.AAAA", "v1.a.é", "v1.a.A", "x" * 99]
)
def test_what_was_never_sealed_does_not_open(text):
    with pytest.raises(SealBroken) as broken:
        ring().open(text, aad=PLACE)
    assert broken.value.__cause__ is None


def test_rotation_opens_the_old_and_seals_with_the_new():
    old_key, new_key = generate_key_text(), generate_key_text()
    old = KeyRing.parse(old_key)
    sealed = old.seal(b"x", aad=PLACE)
    both = KeyRing.parse(f"k2:{new_key},k1:{old_key}")
    assert both.current == "k2"
    assert both.open(sealed, aad=PLACE) == b"x"
    assert not both.is_current(sealed)
    again = both.seal(b"x", aad=PLACE)
    assert both.is_current(again)
    only_new = KeyRing.parse(f"k2:{new_key}")
    assert only_new.open(again, aad=PLACE) == b"x"
    with pytest.raises(SealBroken):
        only_new.open(sealed, aad=PLACE)


def test_the_same_key_reads_in_every_spelling():
    key = secrets.token_bytes(32)
    spellings = [
        key.hex(),
        key.hex().upper(),
        base64.b64encode(key).decode(),
        base64.b64encode(key).decode().rstrip("="),
        base64.urlsafe_b64encode(key).decode(),
        f" {key.hex()}\n",
        f"k1:{key.hex()}",
    ]
    sealed = KeyRing.parse(spellings[0]).seal(b"x", aad=PLACE)
    assert all(KeyRing.parse(text).open(sealed, aad=PLACE) == b"x" for text in spellings)


def b64(key: bytes) -> str:
    return base64.b64encode(key).decode()


WEAK = {
    "empty": "",
    "zero": b64(bytes(32)),
    "ones": b64(b"\xff" * 32),
    "short": b64(secrets.token_bytes(31)),
    "long": b64(secrets.token_bytes(33)),
    "word": "changeme",
    "typed text": b64(b"correct horse battery staple 123"),
    "typed hex": b64(b"0123456789abcdef0123456789abcdef"),
    "sequence": b64(bytes(range(32))),
    "backwards": b64(bytes(range(200, 168, -1))),
    "half twice": b64(secrets.token_bytes(16) * 2),
    "few bytes": b64(bytes([1, 2, 3, 250]) * 7 + b"\x09\x08\x07\x06"),
    "hash of a word": hashlib.sha256(b"secret").hexdigest(),
    "hash of nothing": hashlib.sha256(b"").hexdigest(),
    "not base64": "é" * 43,
    "same name twice": f"a:{generate_key_text()},a:{generate_key_text()}",
    "name with a dot": f"a.b:{generate_key_text()}",
    "no name": f":{generate_key_text()}",
    "second weak": f"a:{generate_key_text()},b:{b64(bytes(32))}",
    "trailing comma": generate_key_text() + ",",
    "too many": ",".join(f"k{n}:{generate_key_text()}" for n in range(17)),
}


@pytest.mark.parametrize("text", WEAK.values(), ids=WEAK.keys())
def test_a_weak_key_is_refused_with_a_sentence_that_does_not_repeat_it(text):
    with pytest.raises(WeakKey) as refused:
        KeyRing.parse(text)
    sentence = str(refused.value)
    assert sentence.endswith((".", "openssl rand -base64 32"))
    assert not any(part and part in sentence for part in text.replace(",", ":").split(":") if len(part) > 5)


def test_a_ring_needs_its_current_key():
    with pytest.raises(WeakKey):
        KeyRing({"a": secrets.token_bytes(32)}, "b")


def test_a_ring_does_not_print_its_keys():
    key = secrets.token_bytes(32)
    shown = repr(KeyRing({"a": key}, "a"))
    assert shown == "KeyRing(a; current a)"


def test_generated_keys_are_good_and_differ():
    texts = {generate_key_text() for _ in range(200)}
    assert len(texts) == 200
    assert all(KeyRing.parse(text) for text in texts)


def test_derived_keys_differ_by_purpose_and_key_and_stay_the_same():
    first, second = generate_key_text(), generate_key_text()
    one = KeyRing.parse(first)
    assert one.derive("cursors") == KeyRing.parse(first).derive("cursors")
    assert len(one.derive("cursors")) == 32
    assert (
        len(
            {
                one.derive("cursors"),
                one.derive("tokens"),
                one.derive("seal"),
                KeyRing.parse(second).derive("cursors"),
            }
        )
        == 4
    )


def test_what_was_signed_before_a_rotation_still_verifies():
    old, new = generate_key_text(), generate_key_text()
    before = KeyRing.parse(old).derive("cursors")
    after = KeyRing.parse(f"k2:{new},k1:{old}")
    assert after.derive_all("cursors") == [after.derive("cursors"), before]


def test_api_keys_carry_256_random_bits_and_are_found_by_their_fingerprint():
    keys = [new_api_key() for _ in range(100)]
    assert len(set(keys)) == 100
    for key in keys:
        assert key.reveal().startswith("psk_")
        assert len(key.reveal()) == 47
    assert fingerprint("psk_x") == hashlib.sha256(b"psk_x").hexdigest()


def test_the_fingerprint_of_any_header_exists():
    assert len(fingerprint("\ud800é\0")) == 64
