"""Problems of the services become one tree of errors."""

import pickle

import pytest

import services.mail.app
import services.signup.app  # noqa: F401 - the apps load every problem that they answer with
from counterfoil_client import errors
from counterfoil_client.problems import Problem
from counterfoil_client.steps import Answer
from shared.contract import problems

KINDS = sorted(
    {(kind.slug, kind.status) for kind in problems.kinds() if kind.__module__.startswith(("services.", "shared."))}
)


@pytest.mark.parametrize(("slug", "status"), KINDS)
def test_every_problem_of_the_services_has_a_class_of_its_own(slug: str, status: int) -> None:
    error = errors.api_error(Problem(status, slug))
    assert type(error).slug == slug
    assert isinstance(error, type(errors.api_error(Problem(status, "not-known-yet"))))


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, errors.BadRequest), (409, errors.Conflict), (418, errors.ApiError), (422, errors.InvalidRequest),
     (503, errors.ServerFault), (599, errors.ServerFault)],
)  # fmt: skip
def test_a_problem_that_this_version_does_not_know_becomes_the_class_of_its_status(
    status: int, kind: type[errors.ApiError]
) -> None:
    assert type(errors.api_error(Problem(status, "of-next-year"))) is kind


def test_an_error_says_what_is_wrong_where() -> None:
    body = (
        b'{"type": "/problems/request-id-reused", "title": "T", "status": 422, "detail": "D", "request_id": "c-1",'
        b' "extra": 7, "errors": [{"pointer": "/subject", "detail": "Differs"}, {"header": "Idempotency-Key",'
        b' "detail": "No"}, {"parameter": "to", "detail": "No"}]}'
    )
    error = errors.api_error(Problem.of_answer(Answer(422, {}, body), 0))
    assert isinstance(error, errors.RequestIdReused)
    assert str(error) == "422 request-id-reused: D"
    assert error.fields == ("/subject", "Idempotency-Key", "to")
    assert [each.kind for each in error.errors] == ["pointer", "header", "parameter"]
    assert (error.request_id, error.problem.members) == ("c-1", {"extra": 7})


@pytest.mark.parametrize("body", [b"", b"<html>Bad gateway</html>", b"[1]", b'{"errors": "no list", "status": "x"}'])
def test_an_error_of_a_proxy_is_known_by_its_status(body: bytes) -> None:
    error = errors.api_error(Problem.of_answer(Answer(502, {}, body), 0))
    assert isinstance(error, errors.ServerFault)
    assert error.detail == "Bad Gateway"


def test_everything_raised_is_a_counterfoil_error_and_survives_pickling() -> None:
    raised = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert {kind for kind in raised if not issubclass(kind, errors.CounterfoilError)} == set()
    error = errors.api_error(Problem(409, "wrong-state", detail="D"))
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301 - our own bytes
