"""What schemathesis makes of the OpenAPI document: requests that fit it, and requests that do not."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from imgret.serve.app import create_app
from tests.serve.conftest import BASE
from tests.serve.test_listening import served

SEARCH = ("/api/search", "POST")
IMAGE = ("/api/images/{id}", "GET")
OPERATIONS = [SEARCH, IMAGE, ("/api/info", "GET"), ("/healthz", "GET"), ("/metrics", "GET")]
IDS = [f"{'ab'[number % 2]}/{number}.png" for number in range(12)]
# the document cannot say that one of image and id is wanted, nor which ids and chains there are
UNSAID = [positive_data_acceptance]


class Begun:
    """An application that is begun already: its lifespan is that of the `server` fixture."""

    def __init__(self, app):
        self._app = app

    async def __call__(self, scope, receive, send):
        assert scope["type"] == "http"
        await self._app(scope, receive, send)


@pytest.fixture(scope="module")
def document(server):
    return schemathesis.openapi.from_asgi("/api/openapi.json", Begun(create_app(server)), headers={"Host": "127.0.0.1"})


def everything(document, address, examples):
    """Ask for all that the document tells of, right and wrong, and count the answers by status; no 5xx among them."""
    path, method = address
    operation, seen = document[path][method], {}
    modes = [GenerationMode.POSITIVE]
    if path not in ("/api/info", "/healthz", "/metrics"):  # which take nothing that could be wrong
        modes.append(GenerationMode.NEGATIVE)

    @settings(
        max_examples=examples, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(
        case=st.one_of([operation.as_strategy(generation_mode=mode) for mode in modes]),
        known=st.none() | st.sampled_from(IDS),
    )
    def ask(case, known):
        if known is not None and address == IMAGE:
            case.path_parameters["id"] = known
        unsaid = list(UNSAID)
        if known is not None and isinstance(case.body, dict):
            unsaid.append(negative_data_rejection)  # what was wrong in the body may be what is replaced here
            case.body = {**{key: value for key, value in case.body.items() if key != "image"}, "id": known}
        answer = case.call(base_url=BASE)
        seen[answer.status_code] = seen.get(answer.status_code, 0) + 1
        assert answer.status_code < 500, answer.text
        case.validate_response(answer, excluded_checks=unsaid)

    ask()
    return seen


@pytest.mark.parametrize("address", OPERATIONS, ids=lambda address: " ".join(address))
def test_no_request_makes_the_server_fail_and_every_answer_is_as_the_document_says(document, address):
    assert everything(document, address, 25).keys() & {200, 404, 422}


@pytest.mark.slow
@pytest.mark.parametrize("address", [SEARCH, IMAGE], ids=lambda address: " ".join(address))
def test_many_requests_do_not_either(document, address):
    assert {200, 404, 422} <= everything(document, address, 600).keys()


@pytest.mark.slow
def test_a_whole_run_of_schemathesis_over_a_real_server_finds_nothing(make_server, tmp_path):
    with served(make_server()) as ((host, port), _):
        command = [sys.executable, "-m", "schemathesis.cli", "run", f"http://{host}:{port}/api/openapi.json"]
        options = ["--max-examples", "60", "--exclude-checks", "positive_data_acceptance", "--max-failures", "3"]
        done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=240, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    tried = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert tried[1] == tried[2]
    assert int(tried[1]) > 100
