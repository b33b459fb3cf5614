"""Whom a signal speaks to: everyone, us, or crawlers that gather works to train on, whose refusal is ours too."""

from __future__ import annotations

TOKEN = "Impasto"
"""Our product token in robots.txt and its kin."""

TRAINING = frozenset(
    {
        "ai2bot",
        "anthropic-ai",
        "applebot-extended",
        "bytespider",
        "ccbot",
        "claudebot",
        "cohere-training-data-crawler",
        "diffbot",
        "google-extended",
        "gptbot",
        "img2dataset",
        "laion-huggingface-processor",
        "laiondownloader",
        "meta-externalagent",
        "omgili",
        "spawning-ai",
    }
)
"""Crawlers, and tokens of crawlers, that gather for training: who refuses these refuses training."""


def product(agent: str) -> str:
    """Return the product token of a user agent in lower case: `Impasto/1.0 (+...)` gives `impasto`."""
    return agent.strip().split("/")[0].split(" ")[0].strip().lower()


def is_us(agent: str) -> bool:
    """Return whether `agent` names us, whatever the case."""
    return product(agent) == TOKEN.lower()


def concerns_us(agent: str) -> bool:
    """Return whether a refusal to `agent` is one to us: to everyone, us, or a crawler for training."""
    return agent.strip() in ("", "*") or is_us(agent) or product(agent) in TRAINING
