"""How hosted pages answer: HTML with its headers, errors in words, and which method a path takes."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from paystate.app import App
from paystate.entrypoints.api.problems import headers_of, problem, status_of
from paystate.entrypoints.incoming import incoming
from paystate.entrypoints.pay.static_files import StaticFiles
from paystate.entrypoints.pay.words import LANGUAGE, amount_text, provider_title, time_text, way_to_pay
from paystate.kit.clock import monotonic, rfc3339
from paystate.kit.errors import Forbidden, NotFound, PaystateError, Refused, TooMany
from paystate.kit.text import origin_of
from paystate.machinery.rate_limits import Limiter, address_key

FORM_LIMIT = 16_384
FORM_FIELDS_LIMIT = 50
HTML_HEADERS = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Robots-Tag": "noindex"}
REDIRECT_HEADERS = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
TITLES: Mapping[str, str] = MappingProxyType(
    {
        "not_found": "Not available",
        "csrf_failed": "Sent from another site",
        "rate_limited": "Too many tries",
        "provider_unavailable": "The payment provider does not answer",
        "provider_refused": "The payment provider refused",
        "provider_not_configured": "This way of paying is not available",
        "database_unavailable": "One moment, please",
    }
)
_OURS = frozenset({"same-origin", "none"})

Answer = Callable[[Request], Awaitable[Response]]


def make_templates(static: StaticFiles) -> Environment:
    """Templates that escape everything and refuse unknown names."""
    env = Environment(
        loader=PackageLoader("paystate.entrypoints.pay"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters.update(amount=amount_text, time_text=time_text, rfc3339=rfc3339)
    env.filters.update(provider=provider_title, way_to_pay=way_to_pay)
    env.globals.update(static=dict(static.urls), language=LANGUAGE)
    return env


class Desk:
    """What every page needs: the app, the templates, and the count of unknown short codes per address."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.static = StaticFiles()
        self._templates = make_templates(self.static)
        limit = app.settings.code_miss_rate_limit
        self._misses = Limiter("code-misses", limit.count, limit.seconds)

    def html(
        self, template: str, *, status: int = 200, form_origins: Sequence[str] = (), **values: Any
    ) -> Response:
        """A page. `form_origins` are where its forms may lead, beside ourselves."""
        support = self.app.settings.support_email
        body = self._templates.get_template(template).render(support_email=support, **values)
        headers = {**HTML_HEADERS, "Content-Security-Policy": content_security_policy(form_origins)}
        return Response(body, status, headers, media_type="text/html; charset=utf-8")

    def error(self, request: Request, error: PaystateError) -> Response:
        """The same refusal for a person or for a program, with the status the API would answer."""
        if not _wants_html(request):
            return problem(error, incoming(request.scope))
        page = self.html("message.html", status=status_of(error), **_message(request, error))
        page.headers.update(headers_of(error))
        return page

    def count_miss(self, request: Request) -> None:
        """Count an unknown short code. Raises TooMany beyond the limit; a code that exists always opens."""
        hit = self._misses.hit(address_key(incoming(request.scope).address), monotonic())
        if not hit.allowed:
            raise TooMany(
                "Too many unknown payment links were tried from your address.",
                retry_after_seconds=hit.retry_after_seconds,
            )


def content_security_policy(form_origins: Sequence[str] = ()) -> str:
    """Nothing but our own files; forms lead to us and to checkouts (`form-action` also gates a POST's redirect)."""
    targets = " ".join(["'self'", *sorted(set(form_origins))])
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        f"form-action {targets}; frame-ancestors 'none'; base-uri 'none'; object-src 'none'"
    )


def see_other(url: str) -> Response:
    """303: look there now, with GET."""
    return RedirectResponse(url, 303, REDIRECT_HEADERS)


@dataclass(frozen=True, slots=True)
class Page:
    """One path as an ASGI app: GET (and HEAD), perhaps POST; every other method is refused and never acts."""

    desk: Desk
    get: Answer
    post: Answer | None = None
    checks_origin: bool = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except ClientDisconnect:
            return
        except PaystateError as error:
            response = self.desk.error(request, error)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if request.method in ("GET", "HEAD"):
            return await self.get(request)
        if request.method == "POST" and self.post is not None:
            if self.checks_origin:
                refuse_foreign(request, self.desk.app.settings.public_url)
            return await self.post(request)
        allowed = ["GET", "HEAD"] if self.post is None else ["GET", "HEAD", "POST"]
        raise Refused("This address does not take that method.", code="method_not_allowed", allow=allowed)


def refuse_foreign(request: Request, public_url: str) -> None:
    """Raise Forbidden `csrf_failed` when the browser says that another site's page sent this form.

    These pages know no session, so there is nothing to steal but a click. Our own forms carry `Origin: null`
    (because of `Referrer-Policy: no-referrer`) where a browser does not know Sec-Fetch-Site; that is let through.
    """
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is not None:
        is_ours = site in _OURS
    else:
        is_ours = origin in (None, "null", origin_of(public_url)) or _is_own_host(request, str(origin))
    if not is_ours:
        raise Forbidden("This form was sent from another site and was not carried out.", code="csrf_failed")


def _is_own_host(request: Request, origin: str) -> bool:
    """Whether the origin is the host that was asked, which the outer layers have checked against the trusted ones."""
    try:
        return urlsplit(origin).netloc == request.headers.get("host")
    except ValueError:
        return False


async def read_form(request: Request) -> list[tuple[str, str]]:
    """The fields of a small form, in order. Raises Refused `payload_too_large`."""
    return form_fields(await read_form_bytes(request))


async def read_form_bytes(request: Request) -> bytes:
    """A small form as it was sent. Raises Refused `payload_too_large`."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > FORM_LIMIT:
            raise Refused("The form is too large.", code="payload_too_large")
    return body


def form_fields(body: bytes) -> list[tuple[str, str]]:
    """The fields of an encoded form, or of a query, in order. Raises Refused `payload_too_large`."""
    try:
        return parse_qsl(body.decode("latin-1"), max_num_fields=FORM_FIELDS_LIMIT)
    except ValueError:
        raise Refused("The form has too many fields.", code="payload_too_large") from None


def _wants_html(request: Request) -> bool:
    """Pages answer people; a POST without a browser's Accept is a program's."""
    accept = request.headers.get("accept", "")
    return "text/html" in accept or (request.method in ("GET", "HEAD") and "json" not in accept)


def _message(request: Request, error: PaystateError) -> Mapping[str, Any]:
    """The words for an error page, and where it leads."""
    code = request.path_params.get("short_code")
    missing = isinstance(error, NotFound)
    return {
        "title": TITLES.get(error.code, "That did not work"),
        "text": error.detail,
        "icon": "dash" if missing else "cross",
        "tone": "gray" if missing else "rose",
        "back": None if code is None or missing or isinstance(error, TooMany) else f"/pay/{code}",
        "back_label": "Back to the payment",
        "code": None if missing else error.code,
    }
