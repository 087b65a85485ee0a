"""Azure's regions, as many as tell apart what the stage has to: where a model is offered, where there are zones.

A region has a name and a display name. Both are taken wherever a region is asked for; what Azure answers is mostly the
name, and for some resources, the apps' among them, the display name.
"""

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from stage.arm.ids import SUBSCRIPTION
from stage.arm.routes import ANY_SUBSCRIPTION, Route
from stage.arm.subscription import Subscription
from stage.platform import Rejected

REGIONS: Mapping[str, str] = {
    "canadacentral": "Canada Central",
    "centralus": "Central US",
    "eastus2": "East US 2",
    "francecentral": "France Central",
    "japaneast": "Japan East",
    "southindia": "South India",
    "swedencentral": "Sweden Central",
    "westcentralus": "West Central US",
    "westeurope": "West Europe",
    "westus": "West US",
}
WITHOUT_ZONES = frozenset({"southindia", "westcentralus", "westus"})
OFFERING_REALTIME = frozenset({"canadacentral", "centralus", "eastus2", "francecentral", "southindia", "swedencentral"})


def plain(region: object) -> str:
    """The name, of either spelling."""
    return str(region).replace(" ", "").lower()


def check(region: object) -> None:
    """Raises Rejected for a region that there is not."""
    if plain(region) not in REGIONS:
        what = f"The provided location '{region}' is not available for resource group. List of available regions is "
        raise Rejected("LocationNotAvailableForResourceGroup", f"{what}'{','.join(REGIONS)}'.")


def shown(body: Mapping[str, Any], *, displayed: bool = False) -> dict[str, Any]:
    """The location of a resource as Azure answers it, whichever spelling was asked for; empty for one without."""
    if body.get("location") is None:
        return {}
    name = plain(body["location"])
    return {"location": REGIONS.get(name, name) if displayed else name}


async def listed(subscription: Subscription, request: web.Request) -> web.Response:
    return web.json_response({"value": [_document(*each) for each in REGIONS.items()]})


def _document(name: str, shown: str) -> dict[str, Any]:
    return {
        "id": f"/subscriptions/{SUBSCRIPTION}/locations/{name}",
        "name": name,
        "type": "Region",
        "displayName": shown,
        "regionalDisplayName": shown,
        "metadata": {"regionType": "Physical", "regionCategory": "Recommended"},
    }


ROUTES: tuple[Route, ...] = (("GET", f"{ANY_SUBSCRIPTION}/locations", listed),)
