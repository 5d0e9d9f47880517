"""Values of command-line options: what they mean and what is refused."""

import argparse

import pytest

from editkit import option_types as types


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("0-8,12", (*range(9), 12)), ("3", (3,)), (" 1 - 2 , 0", (1, 2, 0)), ("7-7", (7,))],
)
def test_number_lists(text, numbers):
    assert types.number_list(text) == numbers


@pytest.mark.parametrize("text", ["", "a", "1,", "-1", "1.5", "1-2-3", "0-99999999", "5-1"])
def test_bad_number_lists(text):
    with pytest.raises(argparse.ArgumentTypeError):
        types.number_list(text)


def test_ranges():
    assert types.number_range("-1..1") == (-1.0, -0.5, 0.0, 0.5, 1.0)
    assert types.number_range("0..1:3") == (0.0, 0.5, 1.0)
    assert types.number_range("0.7") == (0.7,)


@pytest.mark.parametrize("text", ["..", "1..", "0..1:1", "0..1:101", "0..1:x", "nan", "inf..1"])
def test_bad_ranges(text):
    with pytest.raises(argparse.ArgumentTypeError):
        types.number_range(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("cat", "cat"),
        ("3,cat", "3,cat"),  # a name or two classes: the generator's names decide
        ("0.25,0.75", (0.25, 0.75)),
        ("0,1", (0, 1)),
        ("0.,1", (0.0, 1.0)),
    ],
)
def test_classes(text, value):
    found = types.choice_of_class(text)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize("text", ["", "cat,", ","])
def test_bad_classes(text):
    with pytest.raises(argparse.ArgumentTypeError):
        types.choice_of_class(text)


@pytest.mark.parametrize(
    ("parse", "text"),
    [(types.positive, "0"), (types.positive, "-3"), (types.positive, "2.5"), (types.positive_number, "0"),
     (types.positive_number, "nan"), (types.finite, "x"), (types.number_pair, "1"), (types.number_pair, "1,2,3")],
)  # fmt: skip
def test_bad_numbers(parse, text):
    with pytest.raises(argparse.ArgumentTypeError):
        parse(text)


def test_values_may_begin_with_a_minus():
    parser = argparse.ArgumentParser()
    parser.add_argument("--psi", type=types.number_range)
    parser.add_argument("--move", type=types.number_pair)
    with pytest.raises(SystemExit):  # as argparse does by itself
        parser.parse_args(["--psi", "-1..1"])
    types.accept_negative_values(parser)
    args = parser.parse_args(["--psi", "-1..1", "--move", "-.1,-2"])
    assert args.psi[0] == -1 and args.move == (-0.1, -2.0)
    with pytest.raises(SystemExit):
        parser.parse_args(["--psi", "--move", "1,1"])
