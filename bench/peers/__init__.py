"""The peers: relays that a team would run in the place of ours, each set up as who knows it well would.

peer.py             Route and Peer: what a peer is told, and what it has to say
nginx.py haproxy.py envoy.py     programs, by a configuration file
scripts.py          the three relays in Python, which are programs of their own:
    fastapi_relay.py    FastAPI on uvicorn, `websockets` to the model
    aiohttp_relay.py    aiohttp on both sides
    picows_relay.py     picows on both sides
    asked.py            what those three are asked for, and what they share
rtproxy.py          ours
found.py            which programs and packages are here
"""

from bench.peers.envoy import ENVOY
from bench.peers.haproxy import HAPROXY
from bench.peers.nginx import NGINX, NGINX_16K
from bench.peers.peer import Peer, Route
from bench.peers.rtproxy import RTPROXY
from bench.peers.scripts import AIOHTTP, FASTAPI, PICOWS

PEERS: tuple[Peer, ...] = (NGINX, NGINX_16K, HAPROXY, ENVOY, FASTAPI, AIOHTTP, PICOWS, RTPROXY)

__all__ = ["PEERS", "Peer", "Route"]
