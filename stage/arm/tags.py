"""The container registry's own endpoint: its challenge, its tokens, and what is in it."""

from aiohttp import web

from stage.arm.routes import Route
from stage.arm.subscription import Subscription


async def challenge(subscription: Subscription, request: web.Request) -> web.Response:
    host = subscription.registry.login_server
    bearer = f'Bearer realm="https://{host}/oauth2/token",service="{host}"'
    return web.json_response({"errors": [{"code": "UNAUTHORIZED"}]}, status=401, headers={"WWW-Authenticate": bearer})


async def refresh_token(subscription: Subscription, request: web.Request) -> web.Response:
    return web.json_response({"refresh_token": subscription.stream_token})


async def access_token(subscription: Subscription, request: web.Request) -> web.Response:
    return web.json_response({"access_token": subscription.stream_token})


async def catalog(subscription: Subscription, request: web.Request) -> web.Response:
    return web.json_response({"repositories": sorted(subscription.registry.tags)})


async def tags(subscription: Subscription, request: web.Request, repository: str) -> web.Response:
    found = subscription.registry.tags.get(repository)
    if found is None:
        message = f"repository name not known to registry: {repository}"
        return web.json_response({"errors": [{"code": "NAME_UNKNOWN", "message": message}]}, status=404)
    return web.json_response({"imageName": repository, "tags": [{"name": tag} for tag in found]})


ROUTES: tuple[Route, ...] = (
    ("GET", "/v2", challenge),
    ("POST", "/oauth2/exchange", refresh_token),
    ("POST", "/oauth2/token", access_token),
    ("GET", "/v2/_catalog", catalog),
    ("GET", "/acr/v1/(?P<repository>\\S+)/_tags", tags),
)
