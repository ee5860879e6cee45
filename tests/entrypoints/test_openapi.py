"""The document and the server agree: every operation is described, and schemathesis finds no answer that is not."""

import asyncio
import re
import traceback
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from hypothesis.strategies import SearchStrategy
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests import a
from tests.entrypoints.running_web import serving
from tests.entrypoints.test_tenants import jobs_of, operations, things

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
EXAMPLES = 5
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
WAITING = ("/api/jobs/{name}", "/api/job-runs/{runId}/replay")
"""They wait half a minute for a worker that is not there; the tests of jobs look at them."""

SEED = 20_261_120


@pytest.fixture
async def shop(database_url, tmp_path, clock):
    names = ("api_rate_limit", "polling_rate_limit", "code_miss_rate_limit", "job_rate_limit")
    limits = dict.fromkeys(names, "1000000/60")
    async with a.shop(database_url, tmp_path, clock, **limits) as opened:
        yield opened


@pytest.fixture
async def web(shop):
    async with serving(shop, jobs=jobs_of(shop)) as running:
        yield running


async def test_every_operation_is_described(web) -> None:
    """3.1, an operationId of its own, an example for each JSON body, and the codes of its problems."""
    document = (await web.get("/api/openapi.json", key=None)).json
    assert document["openapi"].startswith("3.1")
    names = [op["operationId"] for _, _, op in await operations(web)]
    assert len(names) == len(set(names)) >= 40
    for method, path, op in await operations(web):
        assert re.fullmatch(r"[a-z][A-Za-z]+", op["operationId"])
        assert op.get("description") or op.get("summary"), path
        assert {"500", "503"} <= set(op["responses"]), path
        for status, answer in op["responses"].items():
            if int(status) >= 400 and path != "/readyz":
                assert list(answer["content"]) == ["application/problem+json"], (path, status)
                assert answer["description"], (path, status)
        for body in (op.get("requestBody", {}), *op["responses"].values()):
            assert body.get("content", {}).get("application/json", {"example": 1}).get("example"), (
                method,
                path,
            )


async def test_schemathesis_finds_nothing(web) -> None:
    """No 5xx, no undocumented status or media type, no answer that does not fit its schema."""
    own = await things(web)
    document = (await web.get("/api/openapi.json", key=None)).json
    await asyncio.get_running_loop().run_in_executor(None, explore, document, web.base, web.key, own)


def explore(document: dict[str, Any], base: str, key: str, own: dict[str, str]) -> None:
    """In a thread of its own: the tool waits for each answer of the server in our loop."""
    schema = schemathesis.openapi.from_dict(document)
    session = requests.Session()
    failures = []
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.method == "post" and operation.path in WAITING:
            continue
        ids = {name: own[name] for name in re.findall(r"\{(\w+)\}", operation.path) if name in own}
        for mode, known in (
            (GenerationMode.POSITIVE, ids),
            (GenerationMode.POSITIVE, {}),
            (GenerationMode.NEGATIVE, {}),
        ):
            try:
                _try(operation.as_strategy(mode, path_parameters=known or None), base, key, session)
            except Unsatisfiable:
                continue  # nothing about this operation can be wrong
            except (Failure, BaseExceptionGroup) as failure:
                failures.append(f"{operation.label} {mode}: " + "".join(traceback.format_exception(failure)))
    session.close()
    assert not failures, "\n\n".join(failures)


def _try(cases: SearchStrategy[schemathesis.Case], base: str, key: str, session: requests.Session) -> None:
    @seed(SEED)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases)
    def send(case: schemathesis.Case) -> None:
        # No connection is kept: the server ends an idle one after 5 s, which may be just when it is used again.
        headers = {"Authorization": f"Bearer {key}", "Connection": "close"}
        answer = case.call(base, session, headers=headers, timeout=20)
        case.validate_response(answer, checks=CHECKS)

    send()
