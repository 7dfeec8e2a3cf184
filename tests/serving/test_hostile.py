"""Clients that mean harm, the short form of ``benchmarks/serving_fuzz.py``: no 5xx, and answers as documented."""

from __future__ import annotations

import random
from collections import Counter

import hypothesis
import pytest
import schemathesis
from schemathesis.checks import CHECKS, load_all_checks, not_a_server_error

from benchmarks.hostile_pictures import DEAR, KINDS
from serving.app import make_app
from serving.limits import Limits
from tests.serving.fake_model import FakeModel

DRAWS = 12
HELD_TO = ("status_code_conformance", "content_type_conformance", "response_schema_conformance")


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_pictures_are_answered_and_nothing_else_happens(ask, kind, picture):
    client, draw = ask(max_pixels=30_000_000), random.Random(kind)
    answers = [
        client.post("/v1/captions", files={"image": KINDS[kind](draw)}) for _ in range(1 if kind in DEAR else DRAWS)
    ]
    assert {answer.status_code for answer in answers} <= {200, 415, 422}
    codes = {answer.json()["error"]["code"] for answer in answers if answer.status_code != 200}
    assert codes <= {"not_a_picture", "picture_too_large", "invalid"}
    assert client.post("/v1/captions", files={"image": picture}).status_code == 200


@pytest.mark.parametrize(
    ("kind", "code"),
    [("many_scans", "not_a_picture"), ("bomb", "picture_too_large")],
)
def test_hostile_pictures_that_would_cost_much_are_refused(ask, kind, code):
    answer = ask(max_pixels=30_000_000).post("/v1/captions", files={"image": KINDS[kind](random.Random(1))})
    assert answer.json()["error"]["code"] == code


def test_first_frame_of_a_long_animation_is_captioned(ask):
    answer = ask().post("/v1/captions", files={"image": KINDS["long_animation"](random.Random(1))})
    assert answer.json()["picture"] == {"width": 4, "height": 4}


@pytest.mark.parametrize("mode", [*schemathesis.GenerationMode])
def test_generated_requests_are_answered_as_documented(mode):
    load_all_checks()
    app = make_app([FakeModel()], Limits())
    schema, statuses = schemathesis.openapi.from_asgi("/openapi.json", app), Counter()
    for found in schema.get_all_operations():
        operation = found.ok()

        @hypothesis.seed(0)
        @hypothesis.settings(
            max_examples=4,
            database=None,
            deadline=None,
            suppress_health_check=[*hypothesis.HealthCheck],
            phases=[hypothesis.Phase.generate],
        )
        @hypothesis.given(operation.as_strategy(generation_mode=mode))
        def run(case):
            answer = case.call()
            statuses[answer.status_code] += 1
            case.validate_response(answer, checks=[not_a_server_error, *CHECKS.get_by_names(HELD_TO)])

        try:
            run()
        except hypothesis.errors.Unsatisfiable:
            continue  # an operation without anything to get wrong
    app.state.service.close()
    assert statuses.total() >= 12
    assert {*statuses} & {400, 415, 422}
