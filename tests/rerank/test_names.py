"""Names of stages, their parameters, and how a chain is read and written."""

from __future__ import annotations

import subprocess
import sys

import pytest

from imgret.errors import InputError, UnknownNameError
from imgret.rerank import RANGES, RERANKERS, Step, chain_text, parse_chain
from imgret.tables import resolve


def test_a_chain_is_read_with_its_defaults_filled_in():
    assert parse_chain("aqe:k=5 superglobal:m=400") == (
        Step("aqe", {"k": 5, "alpha": 3}),
        Step("superglobal", {"m": 400, "k": 9, "beta": 0.15}),
    )


def test_no_stage_is_the_empty_chain():
    assert parse_chain("") == parse_chain("  ") == ()
    assert chain_text(()) == ""


def test_a_chain_is_written_with_every_parameter_and_read_back_the_same():
    steps = parse_chain("  reciprocal:lambda=0.5,k2=1   aqe:alpha=2.5 diffusion ")
    text = chain_text(steps)
    assert text == (
        "reciprocal:m=400,k1=20,k2=1,lambda=0.5 aqe:k=10,alpha=2.5 "
        "diffusion:m=10000,kq=10,alpha=0.99,gamma=3,iterations=20"
    )
    assert parse_chain(text) == steps


def test_equal_values_are_written_one_way():
    assert chain_text(parse_chain("aqe:alpha=3.0")) == chain_text(parse_chain("aqe")) == "aqe:k=10,alpha=3"
    assert isinstance(parse_chain("aqe:alpha=3.0,k=4")[0].parameters["k"], int)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("superglobl", "unknown re-ranker 'superglobl' (did you mean superglobal?)"),
        ("aqe:kk=3", "unknown parameter of aqe 'kk' (did you mean k?)"),
        ("superglobal:alpha=3", "unknown parameter of superglobal 'alpha'"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(text, says):
    with pytest.raises(UnknownNameError) as caught:
        parse_chain(text)
    assert says in str(caught.value)


@pytest.mark.parametrize("text", ["aqe:", "aqe:k", "aqe:k=", "aqe:=3", "aqe:k=5,", "aqe: k=5", "aqe:k=5,,alpha=1"])
def test_a_malformed_stage_is_shown_how_to_write_one(text):
    with pytest.raises(InputError, match="write aqe:key=value,key=value without spaces, such as aqe:k=10,alpha=3"):
        parse_chain(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("aqe:k=-1", "k of re-ranker aqe must be a whole number from 0 to 10000, got '-1'"),
        ("aqe:k=2.5", "must be a whole number from 0 to 10000, got '2.5'"),
        ("superglobal:m=0", "m of re-ranker superglobal must be a whole number from 1 to 10000, got '0'"),
        ("superglobal:beta=nan", "beta of re-ranker superglobal must be a number from 0 to 1, got 'nan'"),
        ("aqe:alpha=inf", "must be a number from 0 to 100"),
        ("diffusion:alpha=1", "alpha of re-ranker diffusion must be a number from 0 to 0.999, got '1'"),
        ("diffusion:m=1000001", "from 1 to 1000000, got"),
        ("reciprocal:lambda=high", "lambda of re-ranker reciprocal must be a number from 0 to 1, got 'high'"),
        ("aqe:k=" + "9" * 5000, "must be a whole number"),
        ("aqe:k=1,k=1", "sets k twice"),
    ],
)
def test_a_value_out_of_range_is_told_the_range(text, says):
    with pytest.raises(InputError) as caught:
        parse_chain(text)
    assert says in str(caught.value)


def test_every_row_resolves_and_every_default_is_in_its_range():
    for name, row in RERANKERS.items():
        assert isinstance(resolve(row.target), type)
        assert list(RANGES[name]) == list(row.defaults)
        assert parse_chain(chain_text([Step(name, row.defaults)])) == (Step(name, row.defaults),)


def test_reading_a_chain_loads_neither_numpy_nor_scipy():
    code = (
        "import sys; from imgret.rerank import parse_chain; parse_chain('diffusion aqe'); "
        "print([name for name in ('numpy', 'scipy', 'imgret.ranking') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
