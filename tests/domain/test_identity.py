"""Ids: the report's grammar, version 7 ids in time order, derived ids that stay the same."""

from __future__ import annotations

import time
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.domain.driving import calm

from session_continuity.domain.errors import InvalidInput
from session_continuity.domain.identity import (
    INSTANCE_ID,
    check_instance_id,
    derived_instance_id,
    event_id,
    new_instance_id,
    new_operation_id,
    operation_id,
    slug,
    type_of,
)

ANY_TEXT = st.text(st.characters(), max_size=200)


@pytest.mark.parametrize("good", ["a-PS-abc123", "demo-MS-000000", "0-a--b-PS-zzzzzz", "ps-PS-abcdef"])
def test_ids_of_the_reports_form_are_taken(good: str) -> None:
    assert check_instance_id(good) == good


@pytest.mark.parametrize(("instance_id", "kind"), [("a-PS-abc123", "PS"), ("ps-ms-MS-000000", "MS")])
def test_an_id_tells_the_kind_of_supervisor(instance_id: str, kind: str) -> None:
    assert type_of(instance_id) == kind


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "PS-abc123",
        "-PS-abc123",
        "-a-PS-abc123",
        "demo-XS-abc123",
        "demo-ps-abc123",
        "demo-PS-ABC123",
        "demo-PS-abc12",
        "demo-PS-abc1234",
        "Demo-PS-abc123",
        "de mo-PS-abc123",
        "demo-PS-abc123\n",
        "demo\n-PS-abc123",
        "demo-PS-abc12\0",
        "demo-PS-äbc123",
        "démo-PS-abc123",
        "x" * 200 + "-PS-abc123",
        "demo-PS-abc123'; DROP TABLE event_store; --",
    ],
)
def test_other_ids_are_refused_by_code(bad: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_instance_id(bad)
    assert refused.value.stable_code == "instance_id_format"


@calm
@given(ANY_TEXT, st.sampled_from(["PS", "MS"]))
def test_every_project_name_gives_valid_ids(project: str, instance_type: str) -> None:
    for made in (new_instance_id(project, instance_type), derived_instance_id(project, instance_type, project)):
        assert INSTANCE_ID.fullmatch(made)
        assert check_instance_id(made).startswith(slug(project) + "-")


@calm
@given(ANY_TEXT, ANY_TEXT)
def test_derived_instance_ids_are_stable(project: str, name: str) -> None:
    assert derived_instance_id(project, "PS", name) == derived_instance_id(project, "PS", name)


def test_derived_ids_are_the_same_in_every_release() -> None:
    assert derived_instance_id("Demo App", "PS", "session 1") == "demo-app-PS-aimto3"
    assert operation_id("demo-PS-abc123", "tool call 7") == UUID("389acdd8-c2e5-5257-87f7-25d49c66aa1a")


def test_operation_ids_are_version_7_and_ordered_by_time() -> None:
    made: list[UUID] = []
    for _ in range(200):
        made.append(new_operation_id())
        moment = time.time_ns() // 1_000_000
        while time.time_ns() // 1_000_000 == moment:
            pass
    assert made == sorted(made)
    for one in made:
        assert (one.version, one.variant) == (7, "specified in RFC 4122")
        assert abs((one.int >> 80) - time.time_ns() // 1_000_000) < 60_000
    assert len({new_operation_id() for _ in range(20_000)}) == 20_000


@calm
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=50))
def test_a_callers_text_is_an_id_within_its_instance(text: str) -> None:
    first, second = "demo-PS-abc123", "demo-PS-abc124"
    assert operation_id(first, text) == operation_id(first, text)
    assert operation_id(first, text) != operation_id(second, text)
    assert operation_id(first, text).version == 5


def test_a_given_uuid_is_kept() -> None:
    given_id = UUID(int=5)
    assert operation_id("demo-PS-abc123", given_id) is given_id


@pytest.mark.parametrize(
    ("text", "code"),
    [("", "text_empty"), ("a\0", "text_nul"), ("\ud800", "text_lone_surrogate"), ("x" * 1_001, "text_too_long")],
)
def test_texts_that_can_name_no_operation_are_refused(text: str, code: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        operation_id("demo-PS-abc123", text)
    assert refused.value.stable_code == code


@calm
@given(st.uuids(), st.integers(0, 10_000), st.integers(0, 10_000))
def test_the_parts_of_an_operation_have_ids_of_their_own(operation: UUID, one: int, other: int) -> None:
    assert event_id(operation, 0) == operation
    assert (event_id(operation, one) == event_id(operation, other)) == (one == other)
