"""Names that Azure gives in domains of its own, and where they lead on loopback."""

from urllib.parse import urlsplit

from stage.arm.ids import ACCOUNTS, REGISTRIES, REGISTRY_SUFFIX
from stage.arm.resources import Asked
from stage.arm.subscription import Subscription

_MODELS = ("openai.azure.com", "services.ai.azure.com")
"""Below each of them an account has its subdomain."""


def endpoint(account: Asked) -> str:
    """The URL of a model account: of its own subdomain, which is what takes tokens."""
    return f"https://{_label(account)}.{_MODELS[0]}"


def leads(subscription: Subscription, url: str) -> str:
    """``url``, or what it comes to where it is that of a model account that there is: no DNS knows one of the stage."""
    label, _, domain = (urlsplit(url).hostname or "").partition(".")
    known = {_label(each).lower() for each in subscription.store.of(ACCOUNTS)}
    return subscription.model_url if domain in _MODELS and label in known else url


def registry_servers(subscription: Subscription) -> set[str]:
    """Where the registry is: its address, and the name that Azure would give it."""
    named = {f"{each.name.lower()}{REGISTRY_SUFFIX}" for each in subscription.store.of(REGISTRIES)}
    return {subscription.registry.login_server, *named}


def _label(account: Asked) -> str:
    return str((account.body.get("properties") or {}).get("customSubDomainName") or account.name)
