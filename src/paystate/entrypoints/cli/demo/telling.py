"""Tells the story of a provider: every chapter in turn, up to the first that is not true."""

from http.client import HTTPException
from typing import Any

from paystate.entrypoints.cli.demo.narrator import Narrator
from paystate.entrypoints.cli.demo.provider_story import ProviderStory
from paystate.entrypoints.cli.demo.scene import Scene
from paystate.entrypoints.cli.demo.stage import LOOPBACK, MERCHANT, Stage
from paystate.entrypoints.cli.demo.story import Story
from paystate.kit.clock import monotonic
from paystate.kit.errors import PaystateError

MAIN = "sandbox"
"""Only here every fault can be had on order, so only here the whole story is told."""


def tell_story(stage: Stage, narrator: Narrator) -> tuple[list[dict[str, Any]], bool]:
    """Tell every chapter in turn, up to the first that is not true; answers what each came to."""
    story: Scene = Story(stage, narrator) if stage.provider == MAIN else ProviderStory(stage, narrator)
    facts = {
        "Server": stage.base_url,
        "Provider": stage.simulator_url,
        "Data directory": str(stage.folder),
        "PAYSTATE_ALLOW_PRIVATE_ADDRESSES": f"{LOOPBACK} (the fake provider is on this machine)",
        "Merchant": MERCHANT,
    }
    narrator.opening(stage.provider, facts)
    began, told = monotonic(), list[dict[str, Any]]()
    for number, (title, chapter) in enumerate(story.chapters(), start=1):
        narrator.chapter(number, title)
        started, problem = monotonic(), None
        try:
            chapter()
        except (PaystateError, OSError, HTTPException) as error:
            problem = str(error) or type(error).__name__
            narrator.failed(problem)
            narrator.line(stage.last_words())
        told.append(
            {
                "title": title,
                "ok": problem is None,
                "problem": problem,
                "seconds": round(monotonic() - started, 1),
            }
        )
        if problem is not None:
            return told, False
    narrator.closing(len(told), monotonic() - began)
    return told, True
