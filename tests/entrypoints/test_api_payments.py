"""Payments over HTTP: create, read, list, and what the pages of a link are told."""


async def test_a_payment_is_created_and_read_again(web) -> None:
    made = await web.payment(description="Tea", reference="r-1")
    assert made["state"] == "OPEN"
    again = await web.get(f"/api/payments/{made['id']}")
    assert again.status == 200, again.text
    assert again.headers["ETag"] == 'W/"1"'
    same = {name: value for name, value in made.items() if name != "warnings"}
    assert {name: value for name, value in again.json.items() if name != "warnings"} == same
    listed = await web.get("/api/payments")
    assert [p["id"] for p in listed.json["data"]] == [made["id"]]
    status = await web.get(f"/api/payment-links/{made['shortCode']}/status", key=None)
    assert status.status == 200, status.text
    assert status.json["currentStatus"] == "OPEN"
    checkout = await web.post(f"/api/payment-links/{made['shortCode']}/checkout", {}, key=None)
    assert checkout.status == 200, checkout.text
    assert checkout.json["redirectUrl"].startswith("http://127.0.0.1")
