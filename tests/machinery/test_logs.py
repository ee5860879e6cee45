"""The log shows what helps and hides what harms, and never stops the engine (threat T35, invariant 22, fault B2)."""

import asyncio
import io
import json
import logging
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paystate.kit.clock import FrozenClock, Instant
from paystate.machinery import logs
from paystate.machinery.logs import bound, configure_logs, dropped_lines, get_logger
from paystate.machinery.redaction import redact_fields, redact_text
from paystate.machinery.secrets import Secret

log = get_logger("paystate.test")


@pytest.fixture(autouse=True)
def as_before():
    """Leaves the process's logging as it was found."""
    root, state = logging.getLogger(), logs._state
    handlers, level = list(root.handlers), root.level
    before = (state.level, state.format, state.stream, state.clock)
    yield
    logs.close_logs()
    root.handlers, state.dropped = handlers, 0
    root.setLevel(level)
    state.level, state.format, state.stream, state.clock = before


@pytest.fixture
def stream():
    made = io.StringIO()
    configure_logs(level="info", stream=made, clock=FrozenClock(Instant(1_700_000_000_000_000)))
    return made


def lines(stream: io.StringIO) -> list[dict]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object(stream):
    log.info("payment settled", payment_id="pay_1", amount=1500, late=True, gap=None)
    assert lines(stream) == [
        {
            "time": "2023-11-14T22:13:20Z",
            "level": "info",
            "logger": "paystate.test",
            "event": "payment settled",
            "payment_id": "pay_1",
            "amount": 1500,
            "late": True,
            "gap": None,
        }
    ]


def test_fields_cannot_pretend_to_be_the_head(stream):
    log.info("real", time="1970", exception="none")
    (line,) = lines(stream)
    assert line["time"] == "2023-11-14T22:13:20Z"
    assert line["event"] == "real"


def test_below_the_level_nothing_is_even_formatted(stream):
    class Explosive:
        def __str__(self) -> str:
            raise AssertionError("formatted")

    log.debug("x", reason=Explosive())
    assert stream.getvalue() == ""
    configure_logs(level="error", stream=stream)
    log.info("x")
    log.warning("x")
    assert stream.getvalue() == ""
    log.error("x")
    assert [line["level"] for line in lines(stream)] == ["error"]


def test_a_logger_made_and_used_earlier_follows_the_new_configuration(stream):
    log.info("first")
    second = io.StringIO()
    configure_logs(level="debug", stream=second)
    log.debug("now too")
    assert [line["event"] for line in lines(second)] == ["now too"]


@pytest.mark.parametrize(
    "name",
    [
        "authorization", "Authorization", "cookie", "set-cookie", "set_cookie", "api_key", "apiKey", "idempotency_key",
        "client_secret", "secretKey", "access_token", "token", "signature", "stripe-signature", "email", "customer_email",
        "customerEmail", "name", "customer_name", "firstName", "phone", "phone_number", "iban", "card", "card_number",
        "password", "short_code", "shortCode",
    ],
)  # fmt: skip
def test_a_field_with_a_telling_name_is_hidden(stream, name):
    log.info("x", **{name: "TOPSECRET", f"{name}_id": "TOPSECRET"})
    log.info("x", error={name: "TOPSECRET"}, **{name: 4242})
    assert "TOPSECRET" not in stream.getvalue()
    assert "4242" not in stream.getvalue()
    assert lines(stream)[0][name] == "***"


def test_a_field_nobody_allowed_is_not_shown(stream):
    log.info("x", payload="Ann Smith, 1 Main Street", provider="stripe")
    (line,) = lines(stream)
    assert line["payload"] == "(field not allowed in logs)"
    assert line["provider"] == "stripe"


CANARIES = {
    "our key": "psk_4fd0aTOPSECRETx9",
    "stripe": "sk_live_TOPSECRET123",
    "restricted": "rk_test_TOPSECRET123",
    "webhook secret": "whsec_TOPSECRET123",
    "inside a name": "merchant_psk_TOPSECRET123",
    "bearer": "Authorization: Bearer TOPSECRET.a.b",
    "basic": "basic VE9QU0VDUkVU TOPSECRET"[:22],
    "card": "paid with 4111111111111111 today",
    "grouped card": "4111 1111-1111 1111",
    "address": "mail to ann.smith@TOPSECRET.example please",
    "database": "postgresql://app:TOPSECRET@db/paystate",
    "query": "GET https://api.example/v1?token=TOPSECRET&x=1",
    "json": '{"client_secret": "TOPSECRET", "a": 1}',
    "python": "{'password': 'TOPSECRET'}",
    "assignment": "api_key=TOPSECRET",
    "sqlalchemy": "(sqlite3.Error) x\n[SQL: INSERT]\n[parameters: ('TOPSECRET', 1)]",
    "pydantic": "field required [type=missing, input_value={'a': 'TOPSECRET'}, input_type=dict]",
}


@pytest.mark.parametrize("text", CANARIES.values(), ids=CANARIES.keys())
def test_a_secret_inside_a_text_is_masked_everywhere(stream, text):
    log.info(text, reason=text, error=[text, {"url": text}], result=(text,), target=ValueError(text))
    logging.getLogger("uvicorn.error").warning("it said %s", text)
    shown = stream.getvalue()
    for canary in ("TOPSECRET", "VE9QU0VDUkVU", "4111", "ann.smith"):
        assert canary not in shown
    assert len(lines(stream)) == 2
    assert "***" in lines(stream)[0]["reason"]


@pytest.mark.parametrize(
    "text",
    [
        "payment pay_01hf8zq3k9x7w2v5n4m6b8c0d1 settled", "3 of 100 failed", "1700000000000000", "task_queue is empty",
        "https://api.example/v1/checkouts/abc", "2026-01-01T00:00:00Z", "HTTP/1.1 200",
    ],
)  # fmt: skip
def test_harmless_texts_stay_as_they_are(text):
    assert redact_text(text) == text


def test_numbers_pass_unless_they_are_cards():
    assert redact_fields(
        {"found": 3, "share": 0.5, "settled_at": 1_700_000_000_000_000, "size": 4111111111111111}
    ) == {
        "found": 3,
        "share": 0.5,
        "settled_at": 1_700_000_000_000_000,
        "size": "***",
    }


def test_a_typed_secret_is_hidden_under_any_name(stream):
    log.info("x", reason=Secret("TOPSECRET"), result={"a": [Secret("TOPSECRET")]})
    assert "TOPSECRET" not in stream.getvalue()


def test_huge_values_are_cut(stream):
    deep: list = []
    for _ in range(200):
        deep = [deep]
    log.info("x" * 1_000_000, reason="y" * 1_000_000, ids=list(range(10_000)), result=deep)
    assert len(stream.getvalue()) < 20_000


@pytest.mark.parametrize("format_", ["json", "text"])
def test_a_line_break_cannot_forge_a_line(stream, format_):
    configure_logs(format=format_, stream=stream)
    log.info("a\n2026 error forged\r\x1b[31m\u2028", reason="b\nforged\x85")
    text = stream.getvalue()
    assert len(text.splitlines()) == 1
    assert "\x1b" not in text
    assert text.isascii()


def test_text_for_people(stream):
    configure_logs(format="text", stream=stream, clock=FrozenClock(Instant(1_700_000_000_000_000)))
    log.warning("provider slow", provider="stripe", duration_seconds=1.5)
    assert stream.getvalue() == (
        '2023-11-14T22:13:20Z warning paystate.test: provider slow provider="stripe" duration_seconds=1.5\n'
    )


def fail_with_a_local() -> None:
    local = "TOP" + "SECRET"
    raise RuntimeError(f"it failed with {len(local)} and sk_live_{'x' * 20}")


@pytest.mark.parametrize("format_", ["json", "text"])
def test_an_exception_shows_where_and_never_with_what(stream, format_):
    configure_logs(format=format_, stream=stream)
    try:
        fail_with_a_local()
    except RuntimeError:
        log.exception("the check failed", job="verify")
    text = stream.getvalue()
    assert "in fail_with_a_local" in text
    assert "it failed with 9" in text
    assert "TOPSECRET" not in text
    assert "x" * 20 not in text
    if format_ == "json":
        assert "RuntimeError" in lines(stream)[0]["exception"]


def test_an_exception_without_any_is_a_plain_line(stream):
    log.exception("odd")  # noqa: LOG004 -- the mistake under test
    assert "exception" not in lines(stream)[0]


async def test_request_and_run_follow_the_work_and_no_other(stream):
    async def work(run: str) -> None:
        with bound(run_id=run):
            log.info("start", step=run)
            await asyncio.sleep(0)
            log.info("end", step=run)

    with bound(request_id="req_1"):
        await asyncio.gather(work("a"), work("b"))
    log.info("after", step=None)
    written = lines(stream)
    assert all(line["run_id"] == line["step"] and line["request_id"] == "req_1" for line in written[:-1])
    assert "request_id" not in written[-1]


def test_libraries_speak_through_our_log_and_access_logs_do_not(stream):
    logging.getLogger("uvicorn.error").info("started %s", "server")
    logging.getLogger("sqlalchemy.engine.Engine").info("SELECT 1")
    logging.getLogger("aiohttp.client").warning("odd header")
    logging.getLogger("uvicorn.access").info("GET /x?token=TOPSECRET")
    logging.getLogger("aiohttp.access").info("GET /x?token=TOPSECRET")
    try:
        fail_with_a_local()
    except RuntimeError:
        logging.getLogger("asyncio").exception("task failed")
    assert [(line["logger"], line["level"]) for line in lines(stream)] == [
        ("uvicorn.error", "info"),
        ("aiohttp.client", "warning"),
        ("asyncio", "error"),
    ]
    assert "fail_with_a_local" in lines(stream)[2]["exception"]


def test_a_library_with_a_broken_format_is_counted(stream):
    root = logging.getLogger()
    root.handlers = [
        handler for handler in root.handlers if isinstance(handler, logs._Bridge)
    ]  # not pytest's
    logging.getLogger("uvicorn.error").error("%d items", "three")
    assert stream.getvalue() == ""
    assert dropped_lines() == 1


# --- what cannot be written ---------------------------------------------------------------------------------


class Broken(io.StringIO):
    """A stream whose disk is full until `space` is set."""

    space = False

    def write(self, text: str) -> int:
        if not self.space:
            raise OSError(28, "No space left on device")
        return super().write(text)


def test_a_full_disk_only_loses_lines_and_recovers(stream):
    broken = Broken()
    configure_logs(stream=broken)
    log.info("lost")
    log.error("lost too")
    assert dropped_lines() == 2
    broken.space = True
    log.info("back")
    assert [line["event"] for line in lines(broken)] == ["back"]


def test_a_closed_stream_only_loses_lines():
    closed = io.StringIO()
    closed.close()
    configure_logs(stream=closed)
    log.info("lost")
    assert dropped_lines() == 1


def test_a_value_that_cannot_be_shown_only_loses_its_line(stream):
    class Explosive:
        def __str__(self) -> str:
            raise RuntimeError("no")

    log.info("x", reason=Explosive())
    log.info("next", reason=10**5000 // 1)
    log.info("after")
    assert [line["event"] for line in lines(stream)][-1] == "after"
    assert dropped_lines() == 3 - len(lines(stream))


CHILD = """
import sys
from paystate.machinery.logs import configure_logs, get_logger, dropped_lines
configure_logs()
sys.stdin.readline()
for n in range(3): get_logger("child").info("line", count=n)
print("went on", dropped_lines(), flush=True)
"""


def test_a_process_whose_reader_has_gone_goes_on():
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", CHILD], stdin=pipe, stdout=pipe, stderr=pipe) as child:
        child.stderr.close()
        child.stdin.write(b"go\n")
        child.stdin.close()
        assert child.stdout.read() == b"went on 3\n"
        assert child.wait(timeout=30) == 0


def test_a_process_whose_log_device_is_full_goes_on():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", CHILD],
            input=b"go\n",
            stdout=subprocess.PIPE,
            stderr=full,
            timeout=30,
            check=True,
        )
    assert done.stdout == b"went on 3\n"


def test_the_file_gets_every_line_and_only_its_owner_reads_it(stream, tmp_path):
    path = tmp_path / "logs" / "paystate.log"
    configure_logs(stream=stream, file=path)
    log.info("a 100 % honest line", count=1)
    assert [json.loads(line)["event"] for line in path.read_text().splitlines()] == ["a 100 % honest line"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_file_is_rotated_and_old_ones_are_dropped(stream, tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "MAX_FILE_BYTES", 2_000)
    configure_logs(stream=stream, file=tmp_path / "p.log")
    for number in range(300):
        log.info("line", count=number)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["p.log", *(f"p.log.{n}" for n in range(1, 6))]
    assert all(path.stat().st_size <= 2_000 for path in tmp_path.iterdir())
    assert '"count": 299' in (tmp_path / "p.log").read_text()
    assert dropped_lines() == 0


def test_a_file_that_cannot_be_opened_leaves_the_stream(stream, tmp_path):
    (tmp_path / "file").write_text("")
    configure_logs(stream=stream, file=tmp_path / "file" / "p.log")
    log.info("still here")
    assert [line["event"] for line in lines(stream)] == ["the log file cannot be opened", "still here"]


def test_lines_of_many_threads_stay_whole(stream, tmp_path):
    configure_logs(stream=stream, file=tmp_path / "p.log")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: log.info("line", count=n), range(400)))
    for text in (stream.getvalue(), (tmp_path / "p.log").read_text()):
        assert sorted(json.loads(line)["count"] for line in text.splitlines()) == list(range(400))


@given(
    st.text(max_size=50),
    st.dictionaries(
        st.text(max_size=20),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats()
            | st.text(max_size=20)
            | st.binary(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
            ),
            max_leaves=8,
        ),
        max_size=4,
    ),
)
def test_any_event_becomes_one_valid_line(event, fields):
    for reserved in ("event", "level", "logger", "exc_info", "self"):
        fields.pop(reserved, None)
    made = io.StringIO()
    configure_logs(stream=made)
    log.info(event, **fields)
    assert len(made.getvalue().splitlines()) == 1
    json.loads(made.getvalue(), parse_constant=lambda constant: pytest.fail(f"{constant} is no JSON"))
