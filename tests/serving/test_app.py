"""What clients ask for, and what they are told."""

from __future__ import annotations

import base64
import json
import logging
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from PIL import Image

from captioning.writing import Writing
from serving.errors import STATUS
from serving.schemas import CaptionAnswer, CaptionRequest, CompletionRequest
from serving.server import LOOPBACK
from serving.service import MOST_DECODERS, in_thread
from tests.serving.conftest import encode
from tests.serving.fake_model import FakeModel, FakeTexts

URL = "/v1/captions"


def test_captions_come_in_the_order_of_styles_with_what_belongs_to_them(ask, picture64):
    answer = ask().post(URL, json={"image": picture64, "styles": ["romantic", "buccaneer", "pirate"], "num": 2})
    assert answer.status_code == 200
    found = answer.json()
    assert found.pop("seconds") > 0
    assert found == {
        "model": "fake",
        "captions": [
            {
                "style": style,
                "captions": [
                    {"text": f"{style} 0", "log_prob": -1.0, "cut": False},
                    {"text": f"{style} 1", "log_prob": -2.0, "cut": False},
                ],
            }
            for style in ("romantic", "pirate")  # an alias of a style that is asked for already
        ],
        "picture": {"width": 6, "height": 4},
    }


def test_captions_of_a_form_are_those_of_json(ask, model, picture, picture64):
    client, options = ask(), {"num": 2, "num_beams": 3, "length_penalty": 0.5, "prefix": "my ", "max_length": 9}
    form = client.post(URL, files={"image": picture}, data={"style": ["pirate", "neutral"]} | options)
    plain = client.post(URL, json={"image": picture64, "styles": ["pirate", "neutral"]} | options)
    assert form.json()["captions"] == plain.json()["captions"]
    assert [writing for writing, _ in model.batches] == [Writing(**options)] * 2


@pytest.mark.parametrize(
    ("asked", "styles"),
    [({}, ["neutral"]), ({"style": "pirate"}, ["pirate"]), ({"styles": "all"}, [*FakeModel.styles])],
)
def test_captions_styles_of_one_none_and_all(ask, model, picture64, picture, asked, styles):
    client = ask()
    client.post(URL, json={"image": picture64} | asked)
    client.post(URL, files={"image": picture}, data=asked | {"prefix": ""})
    assert [batch[1] for batch in model.batches if len(batch[1]) == len(styles)] == [styles, styles]


def test_captions_of_another_model_and_the_first_by_default(ask, picture64):
    client = ask(FakeModel("other"))
    assert client.post(URL, json={"image": picture64}).json()["model"] == "fake"
    assert client.post(URL, json={"image": picture64, "model": "other"}).json()["model"] == "other"
    listed = client.get("/v1/models").json()
    assert [entry["name"] for entry in listed["models"]] == ["fake", "other"]
    assert listed["default"] == "fake"
    assert listed["models"][0]["decoding"]["num_beams"] == 5


def test_two_models_of_one_name_are_refused(ask):
    with pytest.raises(ValueError, match="a name of its own"):
        ask(FakeModel("fake"))


def test_styles_come_with_aliases_of_what_the_model_has_learnt(ask):
    found = ask().get("/v1/styles").json()
    assert {entry["name"]: entry["aliases"] for entry in found["styles"]} == {
        **dict.fromkeys(FakeModel.styles, []),
        "pirate": ["buccaneer"],
    }


BAD_JSON = [
    ({"image": "IMAGE", "style": "pirat"}, "unknown_style", "pirat"),
    ({"image": "IMAGE", "model": "none"}, "unknown_model", "fake"),
    ({"image": "IMAGE", "style": "pirate", "styles": ["pirate"]}, "invalid", "either"),
    ({"image": "IMAGE", "styles": []}, "invalid", "styles"),
    ({"image": "IMAGE", "stile": "pirate"}, "invalid", "stile"),
    ({"image": "IMAGE", "num": 6}, "invalid", "num_beams=5"),
    ({"image": "IMAGE", "num": 10**30}, "invalid", "num"),
    ({"image": "IMAGE", "num": 1.5}, "invalid", "num"),
    ({"image": "IMAGE", "num": "2"}, "invalid", "num"),
    ({"image": "IMAGE", "num": True}, "invalid", "num"),
    ({"image": "IMAGE", "temperature": 0}, "invalid", "temperature"),
    ({"image": "IMAGE", "temperature": 2}, "invalid", "multinomial"),
    ({"image": "IMAGE", "guidance": -1}, "invalid", "guidance"),
    ({"image": "IMAGE", "sampling": "best"}, "invalid", "sampling"),
    ({"image": "IMAGE", "max_length": 65}, "invalid", "at most 64"),
    ({"image": "IMAGE", "prefix": "x" * 501}, "invalid", "prefix"),
    ({"image": "/etc/passwd"}, "invalid", "no base64"),
    ({"image": "http://127.0.0.1/a.png"}, "invalid", "no base64"),
    ({"image": ["a"]}, "invalid", "image"),
    ({}, "invalid", "image"),
    ({"image": "aGVsbG8="}, "not_a_picture", "text file"),
]


@pytest.mark.parametrize(("asked", "code", "said"), BAD_JSON)
def test_captions_bad_request_is_told_and_nothing_is_written(ask, model, picture64, asked, code, said):
    asked = {name: picture64 if value == "IMAGE" else value for name, value in asked.items()}
    answer = ask().post(URL, json=asked)
    assert answer.status_code == STATUS[code]
    assert answer.json()["error"]["code"] == code
    assert said in answer.json()["error"]["message"]
    assert not model.batches


FIELD = 'Content-Disposition: form-data; name="{}"\r\n\r\n'
BAD_BODIES = [
    (b"{", "application/json", "bad_request"),
    (b'{"image": NaN, "temperature": NaN}', "application/json", "invalid"),
    (b'{"image": "aaaa", "temperature": 1e999}', "application/json", "invalid"),
    (b'{"image": "aaaa", "prefix": "\\ud800"}', "application/json", "bad_request"),
    (b'{"image": "aaaa", "prefix": "\xff"}', "application/json", "bad_request"),
    (b"[" * 4000, "application/json", "bad_request"),
    (b'{"a":' * 2000 + b"1" + b"}" * 2000, "application/json", "bad_request"),
    (b'{"styles": [' + b"1," * 5000 + b"1]}", "application/json", "bad_request"),
    (b'{"num": ' + b"9" * 10_000 + b"}", "application/json", "bad_request"),
    (b"image=aaaa", "application/x-www-form-urlencoded", "wrong_content_type"),
    (b"image=aaaa", "", "wrong_content_type"),
    (b"image=aaaa", "multipart/form-data", "bad_request"),
    (b"image=aaaa", "multipart/form-data; boundary=a b\x01", "bad_request"),
    (b"image=aaaa", "multipart/form-data; boundary=abc", "bad_request"),
    (
        b'--x\r\nContent-Disposition: form-data; name="num"\r\n\r\n3\r\n--x--\r\n',
        "multipart/form-data; boundary=x",
        "invalid",
    ),
]


@pytest.mark.parametrize(("body", "kind", "code"), BAD_BODIES)
def test_captions_body_that_cannot_be_read_is_told(ask, body, kind, code):
    answer = ask().post(URL, content=body, headers={"Content-Type": kind} if kind else {})
    assert (answer.status_code, answer.json()["error"]["code"]) == (STATUS[code], code)


@pytest.mark.parametrize("charset", ["unicode_escape", "undefined", "utf-7", "zlib_codec"])
def test_captions_fields_of_a_form_are_utf8_whatever_it_says(ask, model, picture, charset):
    head = '--x\r\nContent-Disposition: form-data; name="{}"{}\r\n\r\n'
    body = head.format("prefix", "").encode() + "é\\ud800\r\n".encode()
    body += head.format("image", '; filename="a"').encode() + picture + b"\r\n--x--\r\n"
    answer = ask().post(
        URL, content=body, headers={"Content-Type": f"multipart/form-data; boundary=x; charset={charset}"}
    )
    assert answer.status_code == 200
    assert model.batches[0][0].prefix == "é\\ud800"


def test_captions_form_of_a_long_content_type_is_refused_before_it_is_read(ask, picture):
    body = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n' + picture + b"\r\n--x--\r\n"
    for more, status in ((";" * 100, 200), (";" * 60_000, 400)):
        kind = f'multipart/form-data; boundary=x; more="{more}"'
        assert ask().post(URL, content=body, headers={"Content-Type": kind}).status_code == status


def test_captions_form_field_given_twice_is_told(ask, picture):
    answer = ask().post(URL, files={"image": picture}, data={"num": ["1", "2"]})
    assert (answer.status_code, "given twice" in answer.text) == (422, True)


def test_captions_limits_of_styles_and_of_captions(ask, model, picture64):
    client = ask(max_styles=3)
    assert client.post(URL, json={"image": picture64, "styles": "all"}).json()["error"]["code"] == "invalid"
    model.styles = tuple(f"style {number}" for number in range(9))
    wide = {"image": picture64, "styles": "all", "num": 15, "sampling": "multinomial"}
    assert "135" not in (told := ask(max_styles=9).post(URL, json=wide).json()["error"]["message"])
    assert "at most 128" in told  # 9 x 15 = 135


def test_captions_too_large_a_body_and_picture(ask, picture, picture64):
    client = ask(max_upload_mb=0.001, max_pixels=23)
    assert client.post(URL, files={"image": bytes(2000)}).json()["error"]["code"] == "too_large"
    chunks = (bytes(100) for _ in range(20))
    answer = client.post(URL, content=chunks, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.headers["connection"]) == (413, "close")
    assert client.post(URL, json={"image": picture64}).json()["error"]["code"] == "picture_too_large"  # 24 pixels


def test_captions_of_requests_that_come_together_are_one_batch(ask, model, picture64):
    client = ask(max_batch=3, max_wait_ms=60_000)
    answers = []
    threads = [
        threading.Thread(target=lambda style=style: answers.append(client.post(URL, json={"image": picture64} | style)))
        for style in ({}, {"style": "pirate"}, {"style": "romantic"})
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert [answer.status_code for answer in answers] == [200] * 3
    assert [sorted(styles) for _, styles in model.batches] == [["neutral", "pirate", "romantic"]]
    assert 'stylecap_batch_rows_bucket{le="4.0",model="fake"} 1.0' in client.get("/metrics").text


def test_captions_more_than_the_queue_holds_are_told_when_to_come_again(ask, model, picture64):
    client = ask(max_batch=1, queue=0)
    model.may_go.clear()
    waiting = threading.Thread(target=client.post, args=(URL,), kwargs={"json": {"image": picture64}})
    waiting.start()
    assert model.has_begun.wait(20)
    answer = client.post(URL, json={"image": picture64})
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "busy")
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    model.may_go.set()
    waiting.join(20)
    assert client.post(URL, json={"image": picture64}).status_code == 200


def test_captions_that_take_too_long_are_told_and_dropped(ask, model, picture64):
    client = ask(max_batch=1, timeout=0.3)
    model.may_go.clear()
    for _ in range(2):
        answer = client.post(URL, json={"image": picture64, "prefix": "late "})
        assert (answer.status_code, answer.json()["error"]["code"]) == (504, "timeout")
    model.may_go.set()
    client.post(URL, json={"image": picture64})
    assert [writing.prefix for writing, _ in model.batches].count("late ") == 1  # the second one never began


def test_captions_fault_of_the_model_shows_no_trace(ask, picture64, caplog):
    client = ask()
    answer = client.post(URL, json={"image": picture64, "style": "poison"}, headers={"X-Request-ID": "mine"})
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal"
    assert "mine" in answer.json()["error"]["message"]
    assert "cannot be written" not in answer.text
    assert "this style cannot be written" in caplog.text
    assert client.post(URL, json={"image": picture64}).status_code == 200


def test_captions_picture_on_which_a_decoder_fails_in_its_own_way_is_told(ask, model, picture64, monkeypatch, caplog):
    def fail(picture):
        raise KeyError("secret/path")

    monkeypatch.setattr(model, "read", fail)
    answer = ask().post(URL, json={"image": picture64})
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "not_a_picture")
    assert "secret" not in answer.text
    assert "raised KeyError" in caplog.text


def test_autocomplete_continues_with_a_picture(ask, picture64):
    answer = ask().post("/autocomplete", json={"text": "the", "image": picture64, "style": "pirate", "num": 2})
    assert answer.json() == {"result": [" pirate 0", " pirate 1"]}


def test_autocomplete_text_that_the_model_refuses_is_told(ask, model, picture64, monkeypatch):
    def refuse(text, *_, **options):
        raise ValueError("has 400 tokens, and the model has 126 positions")

    monkeypatch.setattr(model, "complete", refuse)
    answer = ask().post("/autocomplete", json={"text": "a " * 200, "image": picture64})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid")
    assert "126 positions" in answer.json()["error"]["message"]


def test_autocomplete_without_a_picture_needs_a_model_of_text(ask):
    asked = {"text": "the cat", "style": "pirate", "num": 3}
    answer = ask().post("/autocomplete", json=asked)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "needs_picture")
    told = ask(text_completer=FakeTexts(("pirate",))).post("/autocomplete", json=asked)
    assert told.json() == {"result": ["the cat pirate 3"]}


def test_autocomplete_without_a_picture_has_the_styles_of_the_text_model(ask):
    client = ask(text_completer=FakeTexts(("shakespeare",)))
    told = client.post("/autocomplete", json={"text": "a", "style": "shakespeare"})
    assert told.json() == {"result": ["a shakespeare 5"]}
    answer = client.post("/autocomplete", json={"text": "a", "style": "pirate"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "unknown_style")


def test_autocomplete_texts_that_come_meanwhile_are_worked_on_together(ask):
    """An unknown style among them is told at once, and keeps nobody waiting."""
    texts = FakeTexts(("pirate",))
    client, answers = ask(text_completer=texts), dict[str, list[str]]()

    def complete(text):
        answers[text] = client.post("/autocomplete", json={"text": text, "style": "pirate", "num": 1}).json()["result"]

    texts.may_go.clear()
    threads = [threading.Thread(target=complete, args=(text,)) for text in ("first", "a", "b", "c")]
    threads[0].start()
    assert texts.has_begun.wait(20)
    for thread in threads[1:]:
        thread.start()
    told = client.post("/autocomplete", json={"text": "d", "style": "robot"}).json()
    assert told["error"]["code"] == "unknown_style"
    while 'stylecap_queue_depth{model="(texts)"} 3.0' not in client.get("/metrics").text:
        pass
    texts.may_go.set()
    for thread in threads:
        thread.join(20)
    assert answers == {text: [f"{text} pirate 1"] for text in ("first", "a", "b", "c")}
    assert [sorted(batch) for batch in texts.batches] == [["first"], ["a", "b", "c"]]


def test_autocomplete_more_texts_than_the_queue_holds_are_told_when_to_come_again(ask):
    texts = FakeTexts((None,))
    client = ask(text_completer=texts, max_batch=1, queue=0)
    texts.may_go.clear()
    waiting = threading.Thread(target=client.post, args=("/autocomplete",), kwargs={"json": {"text": "a"}})
    waiting.start()
    assert texts.has_begun.wait(20)
    answer = client.post("/autocomplete", json={"text": "b"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "busy")
    texts.may_go.set()
    waiting.join(20)
    assert client.post("/autocomplete", json={"text": "b"}).json() == {"result": ["b None 5"]}


@pytest.mark.parametrize("path", ["/v1/captions", "/v1/models", "/v1/styles", "/autocomplete", "/metrics", "/v1/none"])
@pytest.mark.parametrize("given", [None, "Bearer wrong", "Bearer secret ", "secret", "bearer secret", "Bearer s\xe9"])
def test_token_guards_what_works_and_tells(ask, path, given):
    client = ask(token="secret")
    headers = {} if given is None else {"Authorization": given.encode("latin-1")}
    answer = client.get(path, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"


def test_token_lets_its_owner_in_and_health_needs_none(ask):
    client = ask(token="secret")
    assert client.get("/v1/models", headers={"Authorization": "Bearer secret"}).status_code == 200
    assert [client.get(path).status_code for path in ("/healthz", "/readyz", "/docs", "/openapi.json")] == [200] * 4
    assert client.get("/openapi.json").json()["paths"]["/metrics"]["get"]["security"] == [{"bearer": []}]


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_page_of_elsewhere_cannot_send_a_form_but_may_lead_here(ask, model, picture, site):
    client, headers = ask(), {"Sec-Fetch-Site": site}
    answer = client.post(URL, files={"image": picture}, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "foreign_page")
    assert model.batches == []
    assert client.get("/", headers=headers).status_code == 200
    assert client.post(URL, files={"image": picture}, headers={"Sec-Fetch-Site": "same-origin"}).status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LocalHost:8000", 200),
        ("127.0.0.1:80", 200),
        ("[::1]:8000", 200),
        ("[::1]", 200),
        ("evil.example:8000", 403),
        ("127.0.0.1.evil.example", 403),
        ("evil.example:80:80", 403),
    ],
)
def test_name_that_only_leads_here_is_not_answered(ask, host, status):
    client = ask(hosts=LOOPBACK)
    assert {client.get(path, headers={"Host": host}).status_code for path in ("/", "/v1/models", "/docs")} == {status}


def test_draining_service_lives_but_takes_nothing(ask, picture64):
    client = ask()
    client.app.state.service.draining = True
    found = {path: client.get(path).status_code for path in ("/healthz", "/readyz", "/metrics", "/v1/models")}
    assert found == {"/healthz": 200, "/readyz": 503, "/metrics": 200, "/v1/models": 503}
    answer = client.post(URL, json={"image": picture64})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "draining")


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/nowhere", "not_found"),
        ("GET", "/static/%2e%2e/app.py", "not_found"),
        ("GET", "/static//etc/passwd", "not_found"),
        ("DELETE", "/v1/models", "wrong_method"),
        ("GET", "/v1/captions", "wrong_method"),
        ("GET", "/v1/models/", "not_found"),
        ("GET", "/v1/styles?model=none", "unknown_model"),
        ("GET", f"/v1/styles?model={'x' * 300}", "invalid"),
    ],
)
def test_what_leads_nowhere_is_told_in_the_same_way(ask, method, path, code):
    answer = ask().request(method, path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (STATUS[code], code)


def test_every_answer_has_an_id_and_the_policy(ask):
    client = ask()
    for path in ("/docs", "/nowhere", "/healthz"):
        answer = client.get(path, headers={"X-Request-ID": "a-1.b"})
        assert answer.headers["x-request-id"] == "a-1.b"
        assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert len(client.get("/healthz", headers={"X-Request-ID": "a b"}).headers["x-request-id"]) == 16


def test_access_log_has_a_line_for_each_request_and_nothing_of_its_content(ask, picture64, caplog):
    client = ask(token="secret")
    with caplog.at_level(logging.INFO, "serving.access"):
        asked = {"image": picture64, "styles": ["pirate", "neutral"], "prefix": "private"}
        client.post(URL, json=asked, headers={"Authorization": "Bearer secret", "X-Request-ID": "mine"})
        client.get("/no/secret/path?token=secret")
    captioned, lost = (json.loads(record.getMessage()) for record in caplog.records if record.name == "serving.access")
    assert captioned.pop("time").endswith("+00:00")
    assert captioned.pop("ms") > 0
    assert captioned.pop("bytes_out") > 100
    size = captioned.pop("bytes_in")
    assert len(picture64) < size < len(picture64) + 100
    expected = {"id": "mine", "method": "POST", "path": URL, "status": 200, "model": "fake", "styles": 2}
    assert captioned == expected
    assert lost["path"] == "other"
    for hidden in (picture64, "private", "secret", "pirate"):
        assert hidden not in caplog.text


def test_metrics_count_requests_and_captions(ask, picture64):
    client = ask()
    client.post(URL, json={"image": picture64, "styles": ["pirate", "neutral"], "num": 3})
    client.post(URL, json={})
    client.get("/nowhere/17")
    told = client.get("/metrics").text
    for line in (
        'stylecap_requests_total{method="POST",route="/v1/captions",status="200"} 1.0',
        'stylecap_requests_total{method="POST",route="/v1/captions",status="422"} 1.0',
        'stylecap_requests_total{method="GET",route="other",status="404"} 1.0',
        'stylecap_captions_total{model="fake"} 6.0',
        'stylecap_queue_depth{model="fake"} 0.0',
        'stylecap_model_info{image_size="8",name="fake",parameters="7",styles="4"} 1.0',
    ):
        assert line in told
    assert "nowhere" not in told


def test_openapi_examples_are_requests_and_answers_of_ours(ask):
    described = ask().get("/openapi.json").json()
    bodies = described["paths"][URL]["post"]["requestBody"]["content"]
    assert {*bodies} == {"application/json", "multipart/form-data"}
    CaptionRequest.model_validate(bodies["application/json"]["schema"]["examples"][0], strict=True)
    completing = described["paths"]["/autocomplete"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    CompletionRequest.model_validate(completing["examples"][0], strict=True)
    CaptionAnswer.model_validate(described["components"]["schemas"]["CaptionAnswer"]["examples"][0])
    answers = described["paths"][URL]["post"]["responses"]
    assert {*answers} == {"200", *map(str, (400, 401, 403, 404, 408, 413, 415, 422, 429, 500, 503, 504))}
    fault = answers["429"]["content"]["application/json"]["schema"]["$ref"]
    assert fault == "#/components/schemas/ErrorAnswer"


def test_docs_tell_every_operation_and_load_nothing_from_elsewhere(ask):
    client = ask()
    page, described = client.get("/docs").text, client.get("/openapi.json").json()
    for path in described["paths"]:
        assert f"<code>{path}</code>" in page
    assert "no_repeat_ngram_size" in page
    assert "http" not in page.replace("http-equiv", "")
    assert "<script" not in page
    assert client.get("/docs/style.css").headers["content-type"].startswith("text/css")


def test_large_pictures_are_captioned_like_others(ask):
    large = encode(Image.new("RGB", (4000, 3100)), "JPEG")
    assert ask().post(URL, files={"image": large}).json()["picture"] == {"width": 4000, "height": 3100}


def test_large_pictures_that_wait_for_each_other_let_small_ones_pass(ask, model, monkeypatch, picture64):
    client, read, small = ask(timeout=3), model.read, base64.b64decode(picture64)
    may_go, has_begun = threading.Event(), threading.Event()

    def wait_and_read(data):
        if data != small:
            has_begun.set()
            assert may_go.wait(20)
        return read(data)

    monkeypatch.setattr(model, "read", wait_and_read)
    large = encode(Image.new("RGB", (4000, 3100)), "JPEG")
    post = partial(client.post, URL, files={"image": large})
    threads = [threading.Thread(target=post) for _ in range(MOST_DECODERS + 1)]
    for thread in threads:
        thread.start()
    assert has_begun.wait(20)
    assert client.post(URL, json={"image": picture64}).status_code == 200
    may_go.set()
    for thread in threads:
        thread.join(20)


def test_picture_that_nobody_waits_for_is_not_held():
    class Picture:
        pass

    may_go, picture = threading.Event(), Picture()
    held = weakref.ref(picture)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(may_go.wait, 20)
        waiting = in_thread(pool, lambda _: None, picture)
        del picture
        assert held() is not None
        assert waiting.cancel()
        assert held() is None
        may_go.set()
