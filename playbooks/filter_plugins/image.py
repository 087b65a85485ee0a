"""What an image is built from, by the name of its base."""

import re

HUB = "docker.io"
PINNED = re.compile(r"^FROM (\S+) AS pinned$", re.MULTILINE)
# Of Docker Hub, where an image without the name of a registry is.
HOST = r"(?:(?P<host>[^/]*[.:][^/]*|localhost)/)?"
NAME = re.compile(HOST + r"(?P<repository>[^@]+?)(?::(?P<tag>[^/@:]+))?(?:@(?P<digest>.+))?")
LIMITED = re.compile(r"too ?many ?requests|pull rate limit", re.IGNORECASE)


class FilterModule:
    def filters(self):
        return {"pinned": pinned, "rebased": rebased, "hub_image": hub_image, "is_limited": is_limited}


def pinned(containerfile):
    """The base that a Containerfile has unless it is told of another."""
    return PINNED.search(containerfile)[1]


def rebased(containerfile, base):
    """The Containerfile with another base there: a registry builds every stage, also one that nothing is made of."""
    return PINNED.sub(f"FROM {base} AS pinned", containerfile)


def hub_image(base):
    """How Docker Hub's ``base`` is brought into a registry; nothing where ``base`` is another registry's.

    ``source`` is what to import, as ``target``, REPOSITORY:TAG, of which ``repository`` and ``tag`` are the parts;
    ``reference`` is what a build takes. ``fixed``: the reference never means another image.
    """
    found = NAME.fullmatch(base)
    host, repository, tag, digest = found["host"] or HUB, found["repository"], found["tag"], found["digest"]
    if host not in (HUB, f"index.{HUB}", f"registry-1.{HUB}"):
        return {}
    repository = repository if "/" in repository else f"library/{repository}"
    if digest:
        # A tag of its own: that one is there says that the digest is.
        tag = f"{tag or 'at'}-{digest.rpartition(':')[2][:12]}"
        origin = reference = f"{repository}@{digest}"
    else:
        tag = tag or "latest"
        origin = reference = f"{repository}:{tag}"
    return {
        "source": f"{HUB}/{origin}",
        "target": f"{repository}:{tag}",
        "repository": repository,
        "tag": tag,
        "reference": reference,
        "fixed": bool(digest),
    }


def is_limited(text):
    """Whether a registry said so that too much was pulled from it."""
    return bool(LIMITED.search(text))
