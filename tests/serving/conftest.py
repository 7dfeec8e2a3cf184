"""An application on a fake model, and pictures to send to it."""

from __future__ import annotations

import base64
import io

import pytest
from PIL import Image
from starlette.testclient import TestClient

from serving.app import make_app
from serving.limits import Limits
from tests.serving.fake_model import FakeModel


def encode(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture(scope="session")
def picture():
    """A PNG of 6 x 4 pixels."""
    return encode(Image.new("RGB", (6, 4), (200, 30, 90)))


@pytest.fixture(scope="session")
def picture64(picture):
    return base64.b64encode(picture).decode()


@pytest.fixture
def model():
    found = FakeModel()
    yield found
    found.may_go.set()


@pytest.fixture
def ask(model):
    """Makes a client of an application on the fake model; options are limits, or those of ``make_app``."""
    clients = []

    def make(*more, token=None, text_completer=None, hosts=(), **limits):
        app = make_app([model, *more], Limits(**limits), token, text_completer, hosts)
        client = TestClient(app, raise_server_exceptions=False)
        clients.append(client)
        return client.__enter__()

    yield make
    model.may_go.set()
    for client in clients:
        client.__exit__(None, None, None)
