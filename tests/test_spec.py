import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwsbench.errors import KwsbenchError
from kwsbench.spec import Spec, format_chain, parse, parse_chain

names = st.from_regex(r"[a-z0-9][a-z0-9._/-]{0,12}", fullmatch=True)
keys = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
specs = st.builds(Spec, names, st.sampled_from(["", "9", "all", "1-4,6"]), st.dictionaries(keys, st.text(), max_size=3))


@given(specs)
def test_what_is_printed_is_read_back(spec):
    assert parse(str(spec)) == spec


@given(st.lists(specs.map(Spec.without_layers), min_size=1, max_size=3).map(tuple))
def test_a_chain_is_read_back_whatever_its_values_hold(chain):
    assert parse_chain(format_chain(chain)) == chain


@given(specs)
def test_nothing_that_is_printed_needs_shell_quotes_for_spaces(spec):
    assert not any(character.isspace() for character in str(spec))


def test_the_parts_of_a_spec():
    assert parse("wav2vec2-base@9:weights=random:seed=0,path=/a/b") == Spec(
        "wav2vec2-base", "9", {"weights": "random:seed=0", "path": "/a/b"}
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("MFCC", "cannot read 'MFCC': 'MFCC' is no name; write NAME[@LAYERS][:key=value,…]"),
        ("", "cannot read '': '' is no name; write NAME[@LAYERS][:key=value,…]"),
        ("mfcc:n", "cannot read 'mfcc:n': 'n' is not key=value (write a comma inside a value as %2C)"),
        ("mfcc:n=1,n=2", "cannot read 'mfcc:n=1,n=2': 'n' is given twice"),
        ("hubert@", "cannot read 'hubert@': after @ come layers, as in hubert@9, hubert@1-4,6 or hubert@all"),
    ],
)
def test_what_cannot_be_read_says_why(text, message):
    with pytest.raises(KwsbenchError) as caught:
        parse(text)
    assert str(caught.value) == message
