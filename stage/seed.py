"""The app as a rehearsal finds it: a relay that has been in production, on its first revision.

What `bicep/` describes for Azure is here in the terms of the same resource, Microsoft.App/containerApps@2026-01-01.
"""

from dataclasses import dataclass
from typing import Any, Literal

APP = "rtproxy"
SUFFIX = "blue"
TARGET_PORT = 8080


@dataclass(frozen=True, kw_only=True)
class Seed:
    """What differs between rehearsals. Times in seconds."""

    mode: Literal["Single", "Multiple"] = "Multiple"
    affinity: Literal["sticky", "none"] = "none"
    min_replicas: int = 2
    max_replicas: int = 4
    cooldown_s: int = 300
    polling_s: int = 30
    grace_s: int = 30
    drain_s: int = 25
    heartbeat_s: int = 25
    startup_every_s: int = 1
    """Ten times at most: a busy machine needs long to start two processes instead of one."""


def properties(seed: Seed, image: str, model_url: str, model_key: str, client_key: str) -> dict[str, Any]:
    """The app's ARM ``properties``. Both keys go in as secrets of the app and reach the relay by reference."""
    return {
        "configuration": {
            "activeRevisionsMode": seed.mode,
            "ingress": {
                "external": True,
                "targetPort": TARGET_PORT,
                "transport": "http",
                "traffic": [{"latestRevision": True, "weight": 100}],
                "stickySessions": {"affinity": seed.affinity},
            },
            "secrets": [
                {"name": "model-key", "value": model_key},
                {"name": "client-keys", "value": f"rehearsal:{client_key}"},
            ],
        },
        "template": {
            "revisionSuffix": SUFFIX,
            "terminationGracePeriodSeconds": seed.grace_s,
            "containers": [
                {
                    "name": APP,
                    "image": image,
                    "resources": {"cpu": 0.5, "memory": "1Gi"},
                    "env": [
                        {"name": "AZURE_OPENAI_ENDPOINT", "value": model_url},
                        {"name": "AZURE_OPENAI_DEPLOYMENT", "value": "gpt-realtime"},
                        {"name": "AZURE_OPENAI_API_KEY", "secretRef": "model-key"},
                        {"name": "RTPROXY_CLIENT_KEYS", "secretRef": "client-keys"},
                        {"name": "RTPROXY_DRAIN_SECONDS", "value": str(seed.drain_s)},
                        {"name": "RTPROXY_HEARTBEAT_SECONDS", "value": str(seed.heartbeat_s)},
                    ],
                    "probes": [
                        _probe("Startup", "/healthz", period_s=seed.startup_every_s, failures=10),
                        _probe("Liveness", "/healthz", period_s=10, failures=3),
                        _probe("Readiness", "/readyz", period_s=1, failures=2),
                    ],
                }
            ],
            "scale": {
                "minReplicas": seed.min_replicas,
                "maxReplicas": seed.max_replicas,
                "cooldownPeriod": seed.cooldown_s,
                "pollingInterval": seed.polling_s,
                "rules": [{"name": "calls", "http": {"metadata": {"concurrentRequests": "50"}}}],
            },
        },
    }


def _probe(kind: str, path: str, period_s: int, failures: int) -> dict[str, Any]:
    return {
        "type": kind,
        "httpGet": {"path": path, "port": TARGET_PORT, "scheme": "HTTP"},
        "periodSeconds": period_s,
        "timeoutSeconds": 3,
        "failureThreshold": failures,
    }
