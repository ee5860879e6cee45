"""What the settings of an installation change about its jobs, and the catalogue that follows."""

from paystate.machinery.jobs import Catalogue, Change, registry
from paystate.machinery.settings import Settings


def schedules_of(settings: Settings) -> dict[str, Change]:
    """The schedules that are settings, by job."""
    crons = {
        "cleanup-stale-payments": settings.payment_cleanup_cron,
        "expired-links": settings.expired_links_cron,
        "stuck-payments": settings.stuck_payments_cron,
        "check-pending-payments": settings.check_pending_payments_cron,
        "decline-unpaid-orders": settings.decline_unpaid_orders_cron,
        "refresh-provider-tokens": settings.refresh_provider_tokens_cron,
        "check-alerts": settings.check_alerts_cron,
    }
    return {name: Change(schedule=cron, time_zone=settings.time_zone) for name, cron in crons.items()}


def catalogue_of(settings: Settings) -> Catalogue:
    """The jobs of this installation as its settings and its operators want them."""
    return Catalogue(registry, time_zone=settings.time_zone, overrides=schedules_of(settings))
