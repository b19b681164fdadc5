"""What programs that speak OpenAI's API ask, translated or refused, dry."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_api.answers.conversations import HISTORY
from rag_api.answers.prompt import ANSWER_TOKENS, CONTEXT_TOKENS
from rag_api.openai.embeddings import MOST_TEXTS, TEXT_CHARACTERS, texts_of
from rag_api.openai.errors import RequestRefusedError, error_body, param_of
from rag_api.openai.translate import (
    PLAIN_TOKENS,
    QUESTION_CHARACTERS,
    Asked,
    asked_of,
    messages_of,
    plain_room,
    refuse_unsupported,
    wishes_of,
)
from rag_api.openai.wire import ChatMessage, ChatRequest

ASK = {"role": "user", "content": "How hard is granite?"}


def request(*messages: dict[str, Any], **more: object) -> ChatRequest:
    return ChatRequest.model_validate({"model": "ragkeep", "messages": messages or [ASK], **more})


def asked(*messages: dict[str, Any]) -> Asked:
    return asked_of(request(*messages).messages)


def refusal(*messages: dict[str, Any]) -> RequestRefusedError:
    with pytest.raises(RequestRefusedError) as refused:
        asked(*messages)
    return refused.value


def test_the_last_message_is_asked_and_the_ones_before_are_its_history() -> None:
    earlier = [{"role": "user", "content": "What is granite?"}, {"role": "assistant", "content": "A rock [1]."}]
    found = asked(
        {"role": "system", "content": "Answer in verse."}, *earlier, {"role": "user", "content": " And hard? "}
    )
    assert found == Asked("And hard?", earlier, "Answer in verse.")


def test_instructions_come_from_both_roles_that_give_them_wherever_they_stand() -> None:
    found = asked({"role": "system", "content": "Be brief."}, {"role": "developer", "content": "Be kind."}, ASK)
    assert (found.instructions, found.history) == ("Be brief.\nBe kind.", [])


def test_parts_of_text_are_joined() -> None:
    parts = [{"type": "text", "text": "How hard"}, {"type": "text", "text": "is granite?"}]
    assert asked({"role": "user", "content": parts}).question == "How hard\nis granite?"


def test_of_a_long_conversation_the_end_is_kept_and_nothing_that_is_empty() -> None:
    earlier = [{"role": "user", "content": f"{number} " + "x" * 5000} for number in range(9)]
    silent = {"role": "assistant", "content": None}
    history = asked(*earlier, silent, ASK).history
    assert [message["content"][0] for message in history] == ["5", "6", "7", "8"][-HISTORY:]
    assert {len(message["content"]) for message in history} == {QUESTION_CHARACTERS}


@pytest.mark.parametrize(
    ("messages", "param", "code"),
    [
        ([ASK, {"role": "assistant", "content": "Granite"}], "messages[1]", "invalid_request"),
        ([{"role": "system", "content": "Be brief."}], "messages[0]", "invalid_request"),
        ([{"role": "user", "content": "  "}], "messages[0]", "invalid_request"),
        ([{"role": "user", "content": None}], "messages[0]", "invalid_request"),
        ([{"role": "user", "content": 7}], "messages[0].content", "invalid_request"),
        ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content[0]", "invalid_request"),
        ([{"role": "user", "content": ["hello"]}], "messages[0].content[0]", "unsupported"),
        (
            [
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "What is"}, {"type": "image_url", "image_url": {}}],
                }
            ],
            "messages[0].content[1]",
            "unsupported",
        ),
        ([{"role": "tool", "content": "42"}, ASK], "messages[0]", "unsupported"),
        ([{"role": "assistant", "tool_calls": [{"id": "1"}]}, ASK], "messages[0]", "unsupported"),
        ([{"role": "user", "content": "x" * (QUESTION_CHARACTERS + 1)}], "messages[0]", "context_length_exceeded"),
        ([{"role": "system", "content": "x" * 1500}] * 2 + [ASK], "messages", "context_length_exceeded"),
    ],
)
def test_what_cannot_be_asked_is_refused_where_it_is(messages: list[dict[str, Any]], param: str, code: str) -> None:
    refused = refusal(*messages)
    assert (refused.status, refused.param, refused.code) == (400, param, code)
    assert refused.message.endswith(".")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 2), ("n", 0), ("tools", [{"type": "function"}]), ("functions", [{"name": "f"}]), ("logprobs", True),
        ("top_logprobs", 3), ("logit_bias", {"50256": -100}), ("response_format", {"type": "json_object"}),
        ("modalities", ["text", "audio"]), ("audio", {"voice": "alloy"}), ("web_search_options", {}),
    ],
)  # fmt: skip
def test_what_is_not_done_here_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(RequestRefusedError) as refused:
        refuse_unsupported(request(**{name: value}))
    assert (refused.value.param, refused.value.code) == (name, "unsupported")


def test_what_changes_nothing_is_let_pass() -> None:
    refuse_unsupported(
        request(
            n=1, tools=[], functions=None, logprobs=False, logit_bias={}, response_format={"type": "text"},
            modalities=["text"], user="u", metadata={"a": "b"}, store=True, tool_choice="auto", service_tier="auto",
            top_k=40, stream=True, stream_options={"include_usage": True},
        )
    )  # fmt: skip


def test_options_of_a_stream_need_a_stream() -> None:
    with pytest.raises(RequestRefusedError) as refused:
        refuse_unsupported(request(stream_options={"include_usage": True}))
    assert refused.value.param == "stream_options"


def test_options_become_those_of_the_model_server() -> None:
    wanted = request(
        temperature=0.5, top_p=0.9, presence_penalty=1, frequency_penalty=-1, seed=7, stop="END", max_tokens=9
    )
    assert wishes_of(wanted) == {
        "temperature": 0.5, "top_p": 0.9, "presence_penalty": 1, "frequency_penalty": -1, "seed": 7, "stop": ["END"],
        "num_predict": 9,
    }  # fmt: skip
    assert wishes_of(request()) == {"num_predict": ANSWER_TOKENS}
    assert wishes_of(request(temperature=0, stop=["", "."]))["stop"] == ["."]
    assert wishes_of(request(temperature=0))["temperature"] == 0


@given(seed=st.integers(-(2**63), 2**63), most=st.integers(1, 10**9), newer=st.none() | st.integers(1, 10**9))
def test_numbers_stay_within_what_a_model_server_takes(seed: int, most: int, newer: int | None) -> None:
    wishes = wishes_of(request(seed=seed, max_tokens=most, max_completion_tokens=newer))
    assert 0 <= int(str(wishes["seed"])) < 2**31
    assert wishes["num_predict"] == min(newer or most, ANSWER_TOKENS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 2.1),
        ("temperature", -0.1),
        ("top_p", 1.1),
        ("max_tokens", 0),
        ("stop", ["a"] * 5),
        ("messages", []),
    ],
)
def test_numbers_that_mean_nothing_are_refused(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name):
        request(**{name: value})


def test_the_plain_model_answers_in_the_room_that_is_left() -> None:
    short = messages_of(request().messages)
    assert plain_room(short, None) == PLAIN_TOKENS
    assert plain_room(short, 5) == 5
    long = messages_of(request({"role": "user", "content": "word " * 1100}).messages)
    assert 0 < plain_room(long, 2000) < CONTEXT_TOKENS - 1100
    with pytest.raises(RequestRefusedError, match="context_length_exceeded"):
        plain_room(messages_of(request({"role": "user", "content": "word " * 2000}).messages), 1)


def test_every_message_of_the_plain_model_keeps_its_role() -> None:
    told = messages_of([ChatMessage(role="developer", content="a"), ChatMessage(role="assistant", content="b")])
    assert told == [{"role": "system", "content": "a"}, {"role": "assistant", "content": "b"}]


def test_texts_to_embed_are_one_or_many() -> None:
    assert texts_of("granite") == ["granite"]
    assert texts_of(["granite", "basalt"]) == ["granite", "basalt"]


@pytest.mark.parametrize(
    ("wanted", "param", "code"),
    [
        ([], "input", "invalid_request"),
        (None, "input", "invalid_request"),
        (["x"] * (MOST_TEXTS + 1), "input", "invalid_request"),
        ("", "input[0]", "invalid_request"),
        (["x", None], "input[1]", "invalid_request"),
        (["x", "y" * (TEXT_CHARACTERS + 1)], "input[1]", "context_length_exceeded"),
        ([1, 2, 3], "input[0]", "unsupported"),
        ([[1, 2, 3]], "input[0]", "unsupported"),
    ],
)
def test_what_is_no_text_is_not_embedded(wanted: object, param: str, code: str) -> None:
    with pytest.raises(RequestRefusedError) as refused:
        texts_of(wanted)
    assert (refused.value.param, refused.value.code) == (param, code)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"), (401, "authentication_error"), (403, "permission_error"),
        (404, "invalid_request_error"), (429, "rate_limit_error"), (500, "server_error"), (503, "server_error"),
    ],
)  # fmt: skip
def test_errors_have_the_form_that_clients_read(status: int, kind: str) -> None:
    error = {"message": "No.", "type": kind, "param": "n", "code": "unsupported"}
    assert error_body(status, "unsupported", "No.", "n") == {"error": error}


def test_the_place_of_an_error_is_written_as_in_a_program() -> None:
    assert param_of(("body", "messages", 0, "role")) == "messages[0].role"
    assert param_of(("body",)) == "body"
