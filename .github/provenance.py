"""Prints what a run of a workflow says of itself: who built something, of which commit. It is signed as a predicate.

    python .github/provenance.py > provenance.json

The form is SLSA's (https://slsa.dev/provenance/v1), with the build type that GitHub defines for its workflows:
https://github.com/actions/buildtypes/tree/main/workflow/v1. All of it stands in variables that GitHub sets.
"""

import json
import os
from collections.abc import Mapping


def provenance(environ: Mapping[str, str]) -> dict[str, object]:
    """The predicate. Raises KeyError outside of a workflow."""
    server, repository, ref = (environ[f"GITHUB_{name}"] for name in ("SERVER_URL", "REPOSITORY", "REF"))
    workflow = environ["GITHUB_WORKFLOW_REF"]
    path = workflow.removeprefix(f"{repository}/").removesuffix(f"@{ref}")
    run = f"{server}/{repository}/actions/runs/{environ['GITHUB_RUN_ID']}/attempts/{environ['GITHUB_RUN_ATTEMPT']}"
    return {
        "buildDefinition": {
            "buildType": "https://actions.github.io/buildtypes/workflow/v1",
            "externalParameters": {"workflow": {"ref": ref, "repository": f"{server}/{repository}", "path": path}},
            "internalParameters": {
                "github": {
                    "event_name": environ["GITHUB_EVENT_NAME"],
                    "repository_id": environ["GITHUB_REPOSITORY_ID"],
                    "repository_owner_id": environ["GITHUB_REPOSITORY_OWNER_ID"],
                    "runner_environment": environ["RUNNER_ENVIRONMENT"],
                }
            },
            "resolvedDependencies": [
                {"uri": f"git+{server}/{repository}@{ref}", "digest": {"gitCommit": environ["GITHUB_SHA"]}}
            ],
        },
        "runDetails": {"builder": {"id": f"{server}/{workflow}"}, "metadata": {"invocationId": run}},
    }


if __name__ == "__main__":
    print(json.dumps(provenance(os.environ), indent=2))
