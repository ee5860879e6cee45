"""Commands on background jobs."""

from typing import Annotated, Any

import typer

from paystate.entrypoints.cli.follow_run import follow
from paystate.entrypoints.cli.frame import Answer, DataDir, Json, print_pairs, print_table, terminal

group = typer.Typer(
    name="jobs",
    help="Background jobs: list, run, history, stats, replay, set, enable, disable, clear.",
    no_args_is_help=True,
)
Name = Annotated[str, typer.Argument(help="The name of the job, as `jobs list` shows it.")]
AnyName = Annotated[str | None, typer.Argument(help="Only this job.")]


@group.command("list")
def list_jobs(*, data_dir: DataDir = None, as_json: Json = False) -> None:
    """List jobs with their schedule, last run and health."""
    with terminal(data_dir, as_json) as t:
        t.tell(t.ask("jobs.list"), _show_list)


@group.command()
def run(*, name: Name, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Run a job now and wait for its end; on a terminal a bar shows how far it is."""
    with terminal(data_dir, as_json) as t:
        t.tell(follow(t, "jobs.run", job=name), _show_run)


@group.command()
def history(
    *,
    name: Name,
    limit: Annotated[int, typer.Option("--limit", help="How many runs, newest first.", min=1, max=100)] = 20,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Show the last runs of a job."""
    with terminal(data_dir, as_json) as t:
        t.tell(t.ask("jobs.history", job=name, limit=limit), _show_history)


@group.command()
def stats(*, name: AnyName = None, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Show how often jobs ran, how well and how long."""
    with terminal(data_dir, as_json) as t:
        t.tell(t.ask("jobs.stats", job=name), _show_stats)


@group.command()
def replay(
    *,
    run_id: Annotated[str, typer.Argument(help="The id of a failed run: run_…")],
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Run the job of a failed run again."""
    with terminal(data_dir, as_json) as t:
        t.tell(follow(t, "jobs.replay", run=run_id), _show_run)


@group.command()
def enable(*, name: Name, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Let a job run by its schedule again."""
    with terminal(data_dir, as_json) as t:
        t.tell(t.ask("jobs.enable", job=name), lambda job: print(f"{job['name']} is enabled."))


@group.command()
def disable(*, name: Name, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Keep a job from running; what it misses is not caught up."""
    with terminal(data_dir, as_json) as t:
        t.tell(t.ask("jobs.disable", job=name), lambda job: print(f"{job['name']} is disabled."))


@group.command("set")
def set_job(
    *,
    name: Name,
    schedule: Annotated[str | None, typer.Option("--schedule", help="Five cron fields: */15 * * * *")] = None,
    time_zone: Annotated[str | None, typer.Option("--time-zone", help="Such as Africa/Johannesburg.")] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", help="Items of one step.")] = None,
    timeout: Annotated[int | None, typer.Option("--timeout", help="Seconds a run may take.")] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Change when or how a job runs; a new schedule counts from now."""
    with terminal(data_dir, as_json) as t:
        wanted = {"schedule": schedule, "timeZone": time_zone, "batchSize": batch_size}
        answer = t.ask("jobs.set", job=name, timeoutSeconds=timeout, **wanted)
        t.tell(answer, lambda job: print(f"{job['name']} runs at {job['schedule']} ({job['timeZone']})."))


@group.command()
def clear(*, name: Name, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Start the history and the statistics of a job afresh."""
    with terminal(data_dir, as_json) as t:
        t.tell(t.ask("jobs.clear", job=name), lambda job: print(f"{job['name']} starts its history afresh."))


def _show_list(answer: Answer) -> None:
    rows = []
    for job in answer["data"]:
        last = job["lastExecution"]
        ran = "never" if last is None else f"{last['finishedAt']} {last['status'].lower()}"
        health = "disabled" if not job["enabled"] else job["health"]["state"]
        rows.append((job["name"], job["schedule"], ran, job["nextRunAt"], health))
    print_table(("job", "schedule", "last run", "next run", "health"), rows, nothing="There are no jobs.")


def _show_run(answer: Answer) -> None:
    took = "" if answer["durationMs"] is None else f" in {answer['durationMs']} ms"
    print(f"{answer['job']}: {answer['status'].lower()}{took} ({answer['runId']})")
    if answer["error"]:
        print(f"  {answer['error']}")
    print_pairs({f"  {name}": _short(value) for name, value in (answer["result"] or {}).items()})


def _show_history(answer: Answer) -> None:
    rows = [
        (
            r["runId"],
            r["status"],
            r["trigger"],
            r["startedAt"],
            r["durationMs"],
            r["error"] or _short(r["result"]),
        )
        for r in answer["data"]
    ]
    columns = ("run", "status", "trigger", "started", "ms", "result")
    print_table(columns, rows, nothing="It has not run yet.")


def _show_stats(answer: Answer) -> None:
    rows = [
        (
            job["name"],
            job["totalExecutions"],
            job["failureCount"],
            "" if job["successRate"] is None else f"{job['successRate']} %",
            job["averageDuration"],
            job["p95Duration"],
            job["health"]["reason"],
        )
        for job in answer["data"]
    ]
    columns = ("job", "runs", "failed", "success", "avg ms", "p95 ms", "health")
    print_table(columns, rows, nothing="There are no jobs.")


def _short(value: Any) -> str:
    if isinstance(value, list):
        return f"{len(value)} listed (see --json)" if value else "none"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_short(inner)}" for name, inner in value.items())
    return str(value)
