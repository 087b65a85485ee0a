"""What a builder is sent: docker and `az acr build` read .dockerignore, podman and buildah .containerignore."""

from tests.image.engine import ROOT


def test_every_builder_is_sent_the_same_files() -> None:
    assert (ROOT / ".containerignore").read_text() == (ROOT / ".dockerignore").read_text()


def test_what_the_containerfile_copies_is_sent() -> None:
    lines = (ROOT / "Containerfile").read_text().splitlines()
    copied = {
        word for line in lines if line.startswith("COPY ") and "--from" not in line for word in line.split()[1:-1]
    }
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied | {"Containerfile"} == sent
