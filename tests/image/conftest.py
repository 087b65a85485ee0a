"""Images built once for all the checks, and containers of them in front of a simulated model."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from stage.replica import DEPLOYMENT, Model
from tests.conftest import KEY, trust_as_outside
from tests.image.engine import BASE, Container, Engine, EngineError, find

MODEL_KEY = "model-key"


@pytest.fixture(scope="session", autouse=True)
def outside() -> Iterator[None]:
    """An image is built of what is downloaded."""
    with pytest.MonkeyPatch.context() as patch:
        trust_as_outside(patch)
        yield


@pytest.fixture(scope="session")
def base() -> str:
    return os.environ.get("RTPROXY_IMAGE_BASE") or BASE


@pytest.fixture(scope="session")
def engine(base: str) -> Engine:
    """Ends the run where there is none: a check that is left out has not been passed."""
    try:
        engine = find()
        engine.fetch(base)
    except EngineError as error:
        pytest.exit(str(error), returncode=1)
    return engine


ImageFactory = Callable[..., str]


@pytest.fixture(scope="session")
def image_of(engine: Engine, base: str) -> Iterator[ImageFactory]:
    """``image_of("telemetry")``: the image with these extras."""
    built: dict[str, str] = {}

    def build(extras: str = "") -> str:
        if extras not in built:
            args = (f"BASE={base}", f"EXTRAS={extras}", "VERSION=0.0.1", "REVISION=c0ffee")
            words = [word for arg in args for word in ("--build-arg", arg)]
            built[extras] = engine.build("--file", "Containerfile", *words)
        return built[extras]

    yield build
    for image in built.values():
        engine.do("rmi", "--force", image)


@pytest.fixture(scope="session")
def image(image_of: ImageFactory) -> str:
    """The image as it is built by default."""
    try:
        return image_of()
    except EngineError as error:
        pytest.exit(str(error), returncode=1)


@pytest.fixture
def behind_a_shell(engine: Engine, image: str, tmp_path: Path) -> Iterator[str]:
    """The same image with a shell as its first process."""
    containerfile = tmp_path / "Containerfile"
    # With something left to do, a shell does not make way for the relay.
    containerfile.write_text(f"FROM {image}\nENTRYPOINT python -m rtproxy; exit $?\n")
    derived = engine.build("--file", str(containerfile), context=str(tmp_path))
    yield derived
    engine.do("rmi", "--force", derived)


@pytest.fixture
async def model() -> AsyncIterator[Model]:
    model = await Model.start(MODEL_KEY)
    yield model
    await model.stop()


ContainerFactory = Callable[..., Awaitable[Container]]


@pytest.fixture
async def container_for(engine: Engine, model: Model) -> AsyncIterator[ContainerFactory]:
    """Starts an image with real settings: ``await container_for(image, RTPROXY_DRAIN_SECONDS="4")``."""
    started: list[Container] = []

    async def start(image: str, **settings: str) -> Container:
        everything = {
            "AZURE_OPENAI_ENDPOINT": model.url,
            "AZURE_OPENAI_DEPLOYMENT": DEPLOYMENT,
            "AZURE_OPENAI_API_KEY": MODEL_KEY,
            "RTPROXY_CLIENT_KEYS": f"alice:{KEY}",
        } | settings
        started.append(await engine.start(image, everything))
        return started[-1]

    yield start
    for container in started:
        await container.remove()
