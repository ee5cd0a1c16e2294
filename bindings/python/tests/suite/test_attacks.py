"""The attacks of `crates/aegis-pii/tests/fields`, through Python: on events that are texts, and on the same as `dict`.

| there | here |
|---|---|
| `hostile.rs` | break-outs, damage, what errors and objects show; the rest is in `test_personal_fields.py` |
| `moved.rs` | fields moved, relabelled, and given to another tenant, event or name |
| `envelopes.rs` | forged and damaged envelopes and headers |
| `grammar.rs` | what is JSON, and what is not |
| `limits.rs`, `together.rs` | one too many; which field was changed |
| `tokens.rs`, `inspection.rs` | search tokens; what can be said without a key |
"""

from __future__ import annotations

import base64
import hashlib
import json
import pickle
import random
import re
from typing import Any, Callable, Dict, Iterator, List, Tuple

import pytest

import aegis_governance as aegis
from aegis_governance import errors

from conftest import DEK

ALGORITHM = "x25519+ml-kem-768+aes-256-gcm"
TIME = "2026-05-01T10:00:00Z"
FORMS = ["self-contained", "compact"]
GUESS = "sha256:" + hashlib.sha256(b'"alice"').hexdigest()


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def seal(kek: Any, form: str) -> Callable[..., str]:
    """Seals a JSON text in either form."""

    def seal(event: Any, **options: Any) -> str:
        text = event if isinstance(event, str) else json.dumps(event, separators=(",", ":"))
        return str(aegis.create_pii_enricher(kek.get_public_key(), DEK, form=form, **options)(text))

    return seal


def both(event: str) -> Iterator[Any]:
    """An event as text, and as a dict if it can be one."""
    yield event
    value = json.loads(event)
    if isinstance(value, dict) and len(event) == len(json.dumps(value, separators=(",", ":"))):
        yield value


def is_refused(decryptor: Any, event: str) -> bool:
    causes = set()
    for given in both(event):
        with pytest.raises(errors.DecryptError) as caught:
            decryptor(given)
        assert "alice" not in str(caught.value)
        causes.add(caught.value.causes)
    return len(causes) == 1


def box(kek: Any, plaintext: bytes, binding: str = "pointer+sha256", field: str = "/actor_id") -> Dict[str, Any]:
    """An envelope with whatever bytes in it, as anyone with the public key can make one, from `docs/formats.md`."""
    parts = [part.encode() for part in (binding, field, DEK, ALGORITHM, TIME)]
    sealed = aegis.HybridKEMProvider().encrypt(kek.get_public_key(), plaintext, parts)
    return {
        "_encrypted": True,
        "_algorithm": ALGORITHM,
        "_dek_version": DEK,
        "_ciphertext": base64.b64encode(sealed).decode(),
        "_plaintext_hash": "sha256:" + hashlib.sha256(plaintext).hexdigest(),
        "_encrypted_at": TIME,
    }


# hostile.rs


@pytest.mark.parametrize("binding,field", [("pointer+sha256", "/actor_id"), ("name+sha256", "actor_id")])
def test_opens_what_another_implementation_sealed(
    kek: Any, enricher: Any, decryptor: Any, binding: str, field: str
) -> None:
    event = {"actor_id": box(kek, b'"alice"', binding, field)}
    assert decryptor(event) == {"actor_id": "alice"} and enricher(event) == event
    text = json.dumps(event, indent=1)
    assert json.loads(decryptor(text)) == {"actor_id": "alice"} and enricher(text) == text


BREAK_OUTS = [
    b'1,"role":"admin"', b"", b" 1", b"1 ", b"1}{", b'"a', b'"\xff"', b"nope", b'{"a":1', b"\n1", b"[1]]",
    b'1\n{"actor_id":2}', b"NaN", b'"a\nb"', b"[" * 2000 + b"]" * 2000,
]


@pytest.mark.parametrize("plaintext", BREAK_OUTS, ids=lambda plaintext: repr(plaintext[:12]))
def test_what_was_sealed_cannot_break_out_of_its_field(kek: Any, plaintext: bytes) -> None:
    event = {"x": 1, "actor_id": box(kek, plaintext)}
    decryptor, leaving = aegis.PIIDecryptor(kek), aegis.PIIDecryptor(kek, unopenable="leave")
    for given in [event, json.dumps(event), json.dumps(event).encode()]:
        assert leaving(given) == given
        if not plaintext:
            assert decryptor(given) == given, "it is too short for an envelope, so it is data"
            continue
        # The second time with keys that were kept.
        for _ in range(2):
            with pytest.raises(errors.DecryptError) as caught:
                decryptor(given)
        assert "admin" not in str(caught.value)


def test_damage_is_refused_or_sealed_and_never_shows_a_value(seal: Callable[..., str], decryptor: Any) -> None:
    source = random.Random(3)
    base = b'{"x":[1,{"y":"z"}],"actor_id":"a very personal value","list":[{"signer_id":null}]}'
    for _ in range(300):
        event = bytearray(base)
        event[source.randrange(len(event))] = source.randrange(256)
        try:
            sealed = seal(bytes(event).decode("utf-8", "strict")).encode()
        except (errors.EventError, UnicodeDecodeError):
            continue
        assert decryptor(sealed) == event
        assert b'"actor_id":"a very personal value"' not in event or b"a very personal value" not in sealed


def test_damage_to_an_envelope_never_opens_to_anything_else(kek: Any, seal: Callable[..., str]) -> None:
    source = random.Random(4)
    leaving = aegis.PIIDecryptor(kek, unopenable="leave")
    sealed = seal('{"actor_id":"alice","n":[1,2,3],"author_id":{"b":"bobby"}}').encode()
    for _ in range(300):
        event = bytearray(sealed)
        for _ in range(source.randrange(1, 4)):
            event[source.randrange(len(event))] = source.randrange(256)
        try:
            opened = leaving(event)
        except errors.EventError:
            continue
        values = json.loads(opened)
        assert not isinstance(values.get("actor_id"), str) or values["actor_id"] == "alice"
        try:
            as_dict = leaving(json.loads(event))
        except (errors.EventError, UnicodeDecodeError, json.JSONDecodeError):
            continue
        if len(json.dumps(values, separators=(",", ":"))) == len(opened):
            assert as_dict == values


def test_nothing_that_holds_keys_or_values_shows_them(pair: Any, kek: Any, decryptor: Any, enricher: Any) -> None:
    tokens = aegis.SearchTokens(bytes(range(32)), ["actor_id"])
    decryptor(enricher({"actor_id": "alice"}))
    for thing in [enricher, decryptor, kek, kek.load(), tokens, aegis.PIIDecryptor({DEK: pair[0]})]:
        shown = repr(thing) + str(thing)
        assert "alice" not in shown and "0001" not in shown and bytes(pair[0]).hex()[:8] not in shown
    for thing in [decryptor, kek, tokens]:
        with pytest.raises(TypeError):
            pickle.dumps(thing)


# moved.rs

SPREAD = '{"actor_id":"alice","author_id":"bobby","x":{"actor_id":"carol"},"l":[{"actor_id":1},{"actor_id":2}]}'


@pytest.mark.parametrize(
    "one,other",
    [("actor_id", "author_id"), ("actor_id", "x/actor_id"), ("l/0/actor_id", "l/1/actor_id")],
)
def test_a_ciphertext_does_not_open_in_another_field(
    seal: Callable[..., str], decryptor: Any, one: str, other: str
) -> None:
    event = json.loads(seal(SPREAD))

    def at(path: str) -> Tuple[Any, Any]:
        place, *rest = [int(step) if step.isdigit() else step for step in path.split("/")]
        inner: Any = event
        for step in rest:
            inner, place = inner[place], step
        return inner, place

    (first, name), (second, other_name) = at(one), at(other)
    first[name], second[other_name] = second[other_name], first[name]
    assert is_refused(decryptor, json.dumps(event, separators=(",", ":")))


def relabelled_time(sealed: str, to: Callable[[str], str]) -> str:
    time = re.findall(r'"_encrypted_at":"([^"]*)"', sealed)[0]
    return sealed.replace(time, to(time))


RELABELLED: Dict[str, Callable[[str], str]] = {
    "another time": lambda sealed: relabelled_time(sealed, lambda _: "2020-01-01T00:00:00Z"),
    "a time in another spelling": lambda sealed: relabelled_time(sealed, lambda time: time.replace("Z", ".0Z")),
    "another version of the same key": lambda sealed: sealed.replace(DEK, DEK + "-2"),
    "another catalogue": lambda sealed: re.sub(r"cat1-\w{16}", "cat1-0123456789abcdef", sealed),
    "a digest that confirms guesses": lambda sealed: re.sub(r"hmac-sha256:\w{64}", GUESS, sealed),
    "another digest": lambda sealed: re.sub(r"hmac-sha256:\w{64}", "hmac-sha256:" + "0" * 64, sealed),
}


@pytest.mark.parametrize("relabel", RELABELLED.values(), ids=RELABELLED)
def test_a_relabelled_field_does_not_open(
    seal: Callable[..., str], pair: Any, kek: Any, form: str, relabel: Callable[[str], str]
) -> None:
    enricher = aegis.create_pii_enricher(pair[1], DEK, form=form, catalogue_mark=True)
    decryptor = aegis.PIIDecryptor({DEK: pair[0], DEK + "-2": pair[0]})
    sealed = enricher('{"actor_id":"alice"}')
    assert decryptor(sealed) == '{"actor_id":"alice"}' and relabel(sealed) != sealed
    assert is_refused(decryptor, relabel(sealed))


@pytest.mark.parametrize("sealed_for", [None, "t1", "t2", "t"])
def test_a_field_of_a_tenant_opens_for_it_alone(seal: Callable[..., str], kek: Any, sealed_for: Any) -> None:
    sealed = seal({"id": "1e1", "actor_id": "alice"}, tenant=sealed_for, event_id_member="id")
    for tenant in [None, "t1", "t2", "t"]:
        for member in [None, "id"]:
            decryptor = aegis.PIIDecryptor(kek, tenant=tenant, event_id_member=member)
            if (tenant, member) == (sealed_for, "id"):
                assert json.loads(decryptor(sealed))["actor_id"] == "alice"
                # The same id in another spelling is the same id.
                assert decryptor(sealed.replace('"id":"1e1"', '"id":"\\u0031e1"'))
                assert is_refused(decryptor, sealed.replace('"id":"1e1"', '"id":"1e2"'))
            else:
                assert is_refused(decryptor, sealed)


@pytest.mark.parametrize(
    "event",
    [
        '{"actor_id":"alice"}',
        '{"actor_id":"alice","x":{"event_id":1}}',
        '{"actor_id":"alice","event_id":1,"event_id":1}',
        '{"actor_id":"alice","event_id":1,"event\\u005fid":2}',
        '{"actor_id":"alice","event_id":null}',
        '{"actor_id":"alice","event_id":true}',
        '{"actor_id":"alice","event_id":""}',
        '{"event_id":{"actor_id":"alice"}}',
        '{"event_id":["alice"],"actor_id":1}',
    ],
)
def test_an_event_without_one_id_is_refused(kek: Any, form: str, event: str) -> None:
    enricher = aegis.create_pii_enricher(kek.get_public_key(), DEK, form=form, event_id_member="event_id")
    for given in both(event):
        with pytest.raises(errors.EventError):
            enricher(given)
    assert enricher('{"x":1}') == '{"x":1}' and enricher({"x": 1}) == {"x": 1}, "nothing to seal needs no id"


def test_a_field_that_is_bound_by_name_opens_in_any_place_of_that_name(
    seal: Callable[..., str], kek: Any, enricher: Any, decryptor: Any
) -> None:
    by_name = aegis.create_pii_enricher(kek.get_public_key(), DEK, bind_by="name")
    sealed = by_name({"actor_id": "alice"})
    assert decryptor({"body": [sealed]}) == {"body": [{"actor_id": "alice"}]}
    for moved in [{"author_id": sealed["actor_id"]}, {"body": [enricher({"actor_id": "alice"})]}]:
        assert is_refused(decryptor, json.dumps(moved, separators=(",", ":")))


def test_what_was_left_sealed_opens_when_it_is_put_right(seal: Callable[..., str], kek: Any, decryptor: Any) -> None:
    sealed = seal({"actor_id": "alice", "author_id": "bob"})
    damaged = sealed.replace('"author_id"', '"signer_id"')
    leaving = aegis.PIIDecryptor(kek, unopenable="leave")
    left = leaving(damaged)
    assert json.loads(left)["actor_id"] == "alice" and leaving(json.loads(damaged)) == json.loads(left)
    assert json.loads(decryptor(left.replace('"signer_id"', '"author_id"'))) == {"actor_id": "alice", "author_id": "bob"}


# envelopes.rs


def test_an_envelope_in_any_order_and_spacing_passes_and_opens(kek: Any, enricher: Any, decryptor: Any) -> None:
    sealed = enricher({"actor_id": "alice"})
    turned = {"actor_id": dict(reversed(list(sealed["actor_id"].items())))}
    assert enricher(turned) == turned and decryptor(turned) == {"actor_id": "alice"}
    text = json.dumps(turned, indent=2).replace("/", "\\/")  # as PHP escapes slashes
    compact = aegis.create_pii_enricher(kek.get_public_key(), DEK, form="compact")
    assert compact(text) == enricher(text) == text
    assert json.loads(decryptor(text)) == {"actor_id": "alice"}


MEMBERS = ["_encrypted", "_algorithm", "_dek_version", "_ciphertext", "_plaintext_hash", "_encrypted_at"]
FORGED: Dict[str, Callable[[Dict[str, Any]], Any]] = {
    "plaintext under a claim": lambda good: {"_encrypted": True, "name": "alice"},
    "a claim alone": lambda good: {"_encrypted": True},
    "not true": lambda good: {**good, "_encrypted": False},
    "the text true": lambda good: {**good, "_encrypted": "true"},
    "one": lambda good: {**good, "_encrypted": 1},
    "one more member": lambda good: {**good, "note": "alice"},
    "one more member of ours": lambda good: {**good, "_form": "compact"},
    "an unknown algorithm": lambda good: {**good, "_algorithm": "rot13"},
    "an algorithm in capitals": lambda good: {**good, "_algorithm": ALGORITHM.upper()},
    "no version": lambda good: {**good, "_dek_version": ""},
    "a version of no day": lambda good: {**good, "_dek_version": "dek-v1-20260132"},
    "a number for a version": lambda good: {**good, "_dek_version": 1},
    "no digest": lambda good: {**good, "_plaintext_hash": ""},
    "a short digest": lambda good: {**good, "_plaintext_hash": "hmac-sha256:00"},
    "an unknown digest": lambda good: {**good, "_plaintext_hash": "md5:" + "0" * 64},
    "bare hex": lambda good: {**good, "_plaintext_hash": "0" * 64},
    "an upper-case digest": lambda good: {**good, "_plaintext_hash": "sha256:" + "A" * 64},
    "no time": lambda good: {**good, "_encrypted_at": "yesterday"},
    "no such day": lambda good: {**good, "_encrypted_at": "2026-02-30T00:00:00Z"},
    "no such hour": lambda good: {**good, "_encrypted_at": "2026-02-03T24:00:00Z"},
    "local time": lambda good: {**good, "_encrypted_at": "2026-02-03T00:00:00+01:00"},
    "an empty ciphertext": lambda good: {**good, "_ciphertext": ""},
    "null": lambda good: {**good, "_ciphertext": None},
    "plaintext for a ciphertext": lambda good: {**good, "_ciphertext": "alice"},
    "a line feed": lambda good: {**good, "_ciphertext": good["_ciphertext"][:76] + "\n" + good["_ciphertext"][76:]},
    "another alphabet": lambda good: {**good, "_ciphertext": re.sub("[+/]", "-", good["_ciphertext"])},
    "a ciphertext cut by one": lambda good: {**good, "_ciphertext": good["_ciphertext"][:-1]},
    "a ciphertext of no body": lambda good: {**good, "_ciphertext": good["_ciphertext"][:1492]},
    "an empty catalogue": lambda good: {**good, "_catalogue": ""},
    "a catalogue of another kind": lambda good: {**good, "_catalogue": "cat2-0123456789abcdef"},
    "an empty token": lambda good: {**good, "_token": ""},
    "a nested envelope": lambda good: {"_encrypted": good},
    "a list of one": lambda good: [good],
    **{f"without {name}": lambda good, name=name: {k: v for k, v in good.items() if k != name} for name in MEMBERS},
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
def test_what_only_claims_to_be_an_envelope_is_sealed(
    enricher: Any, decryptor: Any, forge: Callable[[Dict[str, Any]], Any]
) -> None:
    event = {"actor_id": forge(enricher({"actor_id": "alice"})["actor_id"])}
    text = json.dumps(event)
    as_dict, as_text = enricher(event), json.loads(enricher(text))
    for sealed in [as_dict, as_text]:
        assert sealed["actor_id"] != event["actor_id"] and "alice" not in json.dumps(sealed)
        assert set(sealed["actor_id"]) == set(MEMBERS)
        assert decryptor(sealed) == event
    if not isinstance(event["actor_id"], list) and "_algorithm" in event["actor_id"]:
        assert decryptor(event) == event and decryptor(text) == text, "it is data, and never opened"


TWICE: Dict[str, Callable[[str], str]] = {
    "the claim": lambda text: text.replace('"_encrypted":true', '"_encrypted":true,"_encrypted":true', 1),
    "the version": lambda text: text.replace('"_encrypted":true', f'"_encrypted":true,"_dek_version":"{DEK}"', 1),
}


@pytest.mark.parametrize("change", TWICE.values(), ids=TWICE)
def test_an_envelope_with_a_member_twice_is_data(enricher: Any, decryptor: Any, change: Callable[[str], str]) -> None:
    twice = change(enricher('{"actor_id":"alice"}'))
    sealed = enricher(twice)
    assert sealed != twice and decryptor(sealed) == twice


def test_every_changed_byte_is_refused_or_data_and_never_opened(seal: Callable[..., str], decryptor: Any) -> None:
    sealed = seal('{"actor_id":"alice"}').encode()
    source = random.Random(5)
    for at in [*range(200), *range(200, len(sealed) - 330, 17), *range(len(sealed) - 330, len(sealed))]:
        changed = bytearray(sealed)
        changed[at] ^= 1 << source.randrange(8)
        try:
            opened = decryptor(changed)
        except (errors.EventError, errors.DecryptError):
            continue
        assert opened == changed, "it is data, or nothing"
        assert b"alice" not in opened or (b"_aegis" in sealed and b'"_aegis"' not in changed)


def test_every_truncation_is_refused(seal: Callable[..., str], decryptor: Any) -> None:
    sealed = seal('{"actor_id":"alice"}')
    for length in [*range(0, len(sealed), 11), *range(len(sealed) - 20, len(sealed))]:
        with pytest.raises(errors.EventError):
            decryptor(sealed[:length])


def compact(kek: Any, event: str) -> Any:
    return json.loads(aegis.create_pii_enricher(kek.get_public_key(), DEK, form="compact")(event))


def test_a_compact_field_without_its_header_is_data(kek: Any, decryptor: Any) -> None:
    enricher = aegis.create_pii_enricher(kek.get_public_key(), DEK, form="compact")
    event = compact(kek, '{"actor_id":"alice","x":1}')
    header, field = event.pop("_aegis"), json.dumps(event["actor_id"])
    twice = f'{{"_aegis":{json.dumps(header)},"_aegis":{json.dumps(header)},"actor_id":{field}}}'
    for given in [event, twice]:
        assert decryptor(given) == given
        sealed = enricher(given)
        assert sealed != given and decryptor(sealed) == given
    # Wherever in the event it stands, it is found and taken out again.
    for given in [{"actor_id": event["actor_id"], "_aegis": header}, {"x": 1, "_aegis": header, **event}]:
        assert decryptor(given)["actor_id"] == "alice" and "_aegis" not in decryptor(given)
    moved = {"x": {"_aegis": header, **event}}
    assert decryptor(moved) == moved


@pytest.mark.parametrize(
    "name,value",
    [
        ("_form", "other"),
        ("_form", 1),
        ("_algorithm", "none"),
        ("_dek_version", "dek"),
        ("_encrypted_at", "now"),
        ("_catalogue", "cat1-"),
        ("_encapsulation", "AAAA"),
        ("_more", "x"),
    ],
)
def test_a_header_that_is_not_well_formed_is_none(kek: Any, decryptor: Any, name: str, value: Any) -> None:
    event = compact(kek, '{"actor_id":"alice"}')
    event["_aegis"][name] = value
    assert decryptor(event) == event and decryptor(json.dumps(event)) == json.dumps(event)


def test_a_new_field_of_a_sealed_event_is_sealed_by_itself(seal: Callable[..., str], kek: Any, decryptor: Any, form: str) -> None:
    enricher = aegis.create_pii_enricher(kek.get_public_key(), DEK, form=form)
    event = {**json.loads(seal({"actor_id": "alice", "x": 1})), "author_id": "bob"}
    sealed = enricher(event)
    assert sealed["actor_id"] == event["actor_id"] and sealed["author_id"]["_encrypted"] is True
    assert decryptor(sealed) == {"actor_id": "alice", "x": 1, "author_id": "bob"}


@pytest.mark.parametrize("event", [{"_aegis": 5, "actor_id": "alice"}, {"_aegis": {"actor_id": "alice"}}])
def test_an_event_with_a_member_aegis_of_its_own_is_sealed_all_the_same(
    kek: Any, decryptor: Any, form: str, event: Any
) -> None:
    sealed = aegis.create_pii_enricher(kek.get_public_key(), DEK, form=form)(event)
    assert "alice" not in json.dumps(sealed) and "_encrypted_at" in json.dumps(sealed)
    assert decryptor(sealed) == event


def test_the_bare_digest_is_checked(seal: Callable[..., str], decryptor: Any) -> None:
    sealed = seal('{"actor_id":"alice"}', plaintext_hash="sha256")
    assert GUESS in sealed and decryptor(sealed) == '{"actor_id":"alice"}'
    assert is_refused(decryptor, sealed.replace(GUESS, "sha256:" + hashlib.sha256(b'"bob"').hexdigest()))


# grammar.rs

JSON_TEXTS = [
    "{}", "[]", "0", "-0", '""', "null", "true", "false", " [ ] ", "\t\r\n{ }\n", "1e400", "0.10", "-1E-400", '"\\ud800"',
    '"\\udc00\\ud800"', "[[],{},[{}]]", '{"a":1,"a":2}', '"\x7f\U0010ffff"', "123456789012345678901234567890.5",
    '{"":{"":[]}}',
]
NO_JSON: List[bytes] = [
    b"", b"  ", b"{", b'{"a"', b'{"a":', b'{"a":1', b'{"a":1,', b'{"a":1,}', b"{a:1}", b'{"a" 1}', b'{"a":1]', b"[1,]", b"[1 2]",
    b"[", b"]", b"01", b"1 2", b"{}{}", b"-", b"-a", b"+1", b".5", b"1.", b"1.e5", b"1e", b"1e+", b"1e+x", b"tru", b"trux",
    b"True", b"nulll", b"NaN", b'"', b'"a', b'"\\"', b'"\\', b'"\\x"', b'"\\u12g4"', b'"\\u12', b'"a\nb"', b'"\x00"',
    b'"abcdefgh\x1fabcdefgh"', b'"\xff"', b'"ok\xc3"', b'"\xed\xa0\x80"', b'"\xc0\x80"', b"\xef\xbb\xbf{}", b"{}\xff",
    b"[\xa0]", b"{} // no comments", b"'a'",
]


@pytest.mark.parametrize("text", JSON_TEXTS)
def test_whatever_json_allows_is_copied(enricher: Any, decryptor: Any, text: str) -> None:
    assert enricher(text) == text == decryptor(text) and enricher(text.encode()) == text.encode()
    assert aegis.inspect(text) == {"sealed": [], "clear": [], "malformed": 0, "catalogue": None}


@pytest.mark.parametrize("text", NO_JSON, ids=repr)
def test_whatever_json_does_not_allow_is_refused(enricher: Any, decryptor: Any, text: bytes) -> None:
    for call in [enricher, decryptor, aegis.inspect]:
        with pytest.raises(errors.EventError) as caught:
            call(text)
        assert caught.value.help
    with pytest.raises(errors.EventError):
        enricher.encrypt_batch([b"{}", text])


# limits.rs, together.rs


def test_one_too_many_is_refused_and_as_many_as_may_be_are_not(kek: Any, form: str, decryptor: Any) -> None:
    key = kek.get_public_key()
    text = '{"actor_id":"alice"}'

    def enricher(most: Any = None) -> Any:
        return aegis.create_pii_enricher(key, DEK, form=form, max_event_len=most)

    assert decryptor(enricher(20)(text)) == text and decryptor(enricher(20)(json.loads(text))) == json.loads(text)
    fields = [{"actor_id": 1}] * 1024
    assert decryptor(enricher()({"l": fields})) == {"l": fields}
    for refusing, event in [
        (enricher(19), text),
        (enricher(19), json.loads(text)),
        (enricher(), {"l": fields + [{"actor_id": 1}]}),
        (enricher(), "[" * 1001 + "]" * 1001),
        (enricher(), '{"x":' * 1000 + "[]" + "}" * 1000),
    ]:
        with pytest.raises(errors.EventError):
            refusing(event)


def test_a_field_that_was_changed_is_named_whichever_it_is(kek: Any, enricher: Any, decryptor: Any) -> None:
    event = {"id": 7, "actor_id": "alice", "author_id": "bob", "decision_actor": [1], "x": [{"signer_id": None}]}
    sealed = enricher(event)
    leaving = aegis.PIIDecryptor(kek, unopenable="leave")
    for name in ["actor_id", "author_id", "decision_actor"]:
        for member in ["_ciphertext", "_plaintext_hash"]:
            value = sealed[name][member]
            changed = {**sealed, name: {**sealed[name], member: value[:-9] + ("1" if value[-9] == "0" else "0") + value[-8:]}}
            texts = json.dumps(changed, separators=(",", ":"))
            with pytest.raises(errors.DecryptError, match=f"byte {texts.index(chr(123), texts.index(name))}"):
                decryptor(texts)
            with pytest.raises(errors.DecryptError):
                decryptor(changed)
            for given in [changed, json.loads(leaving(texts))]:
                assert leaving(given) == {**event, name: changed[name]}


# tokens.rs, inspection.rs

TOKEN_KEY = bytes(range(32))


def test_a_token_is_what_the_format_says() -> None:
    """The numbers of the Rust tests, which Python's hmac computed."""
    one, seven = aegis.SearchTokens(TOKEN_KEY, ["actor_id"]), aegis.SearchTokens(TOKEN_KEY, [], epoch=7)
    assert one.token("actor_id", "alice") == "1:f2cfcba7737f2f6bacd2f642649e7fe9"
    assert one.epoch == 1 and one.fields == ["actor_id"] and seven.epoch == 7
    # Of a list, the JSON text counts, as this package writes it.
    assert seven.token("author_id", [1, 2], tenant="acme") != seven.token("author_id", [2, 1], tenant="acme")


def test_equal_values_have_equal_tokens_and_no_others(seal: Callable[..., str], decryptor: Any) -> None:
    tokens = aegis.SearchTokens(TOKEN_KEY, ["actor_id", "author_id"])
    event = {"actor_id": "alice", "author_id": "alice", "x": [{"actor_id": "alice"}, {"actor_id": "bob"}], "signer_id": 1}
    sealed = seal(event, search_tokens=tokens)
    found = [field["token"] for field in aegis.inspect(sealed)["sealed"]]
    assert found[0] == found[2] == tokens.token("actor_id", "alice") and len(set(found[:4])) == 3 and found[4] is None
    assert json.loads(decryptor(sealed)) == event and decryptor(json.loads(sealed)) == event
    every = {
        aegis.SearchTokens(TOKEN_KEY, [], epoch=epoch).token(field, value, tenant=tenant).split(":")[1]
        for epoch in [0, 1, 2**32 - 1]
        for tenant in [None, "one", "two"]
        for field in ["actor_id", "author_id"]
        for value in ["1", 1]
    }
    assert len(every) == 36
    # A changed token, or none, and the field does not open.
    for changed in [sealed.replace(found[0], tokens.token("actor_id", "eve")), sealed.replace(f',"_token":"{found[0]}"', "")]:
        assert is_refused(decryptor, changed)


def test_tokens_that_make_no_sense_are_refused(kek: Any) -> None:
    for key in [b"", b"x" * 31, b"x" * 33]:
        with pytest.raises(ValueError):
            aegis.SearchTokens(key, ["actor_id"])
    for arguments in [("text" * 8, ["actor_id"]), (TOKEN_KEY, "actor_id"), (TOKEN_KEY, [1])]:
        with pytest.raises(TypeError):
            aegis.SearchTokens(*arguments)  # type: ignore[arg-type]
    for epoch in [-1, 2**32]:
        with pytest.raises(OverflowError):
            aegis.SearchTokens(TOKEN_KEY, ["actor_id"], epoch=epoch)
    with pytest.raises(errors.OptionsError, match="nickname"):
        aegis.create_pii_enricher(kek.get_public_key(), DEK, search_tokens=aegis.SearchTokens(TOKEN_KEY, ["nickname"]))
    enricher = aegis.create_pii_enricher(
        kek.get_public_key(), DEK, search_tokens=aegis.SearchTokens(TOKEN_KEY, ["actor_id"])
    )
    with pytest.raises(TypeError):
        pickle.dumps(enricher)
    with pytest.raises(errors.EventError):
        aegis.SearchTokens(TOKEN_KEY, []).token("actor_id", float("nan"))


def test_says_without_a_key_what_is_sealed_and_what_is_not(kek: Any, form: str) -> None:
    enricher = aegis.create_pii_enricher(kek.get_public_key(), DEK, form=form)
    sealed = enricher({"actor_id": "alice", "x": [{"author_id": None}]})
    found = aegis.inspect({**sealed, "signer_id": {"_encrypted": True, "v": "bob"}})
    assert [(field["pointer"], field["name"], field["plaintext_len"]) for field in found["sealed"]] == [
        ("/actor_id", "actor_id", 7),
        ("/x/0/author_id", "author_id", 4),
    ]
    for field in found["sealed"]:
        assert field["dek_version"] == DEK and field["algorithm"] == ALGORITHM and field["form"] == form
        assert field["plaintext_hash"] == "hmac-sha256" and field["token"] is None and len(field["encrypted_at"]) == 20
    assert found["clear"] == [{"pointer": "/signer_id", "name": "signer_id"}] and found["malformed"] == 1
    assert found["catalogue"] == (aegis.Catalogue().version if form == "compact" else None)
    own = aegis.Catalogue.of(["email"])
    assert aegis.inspect('{"email":"a@b","actor_id":1}', catalogue=own)["clear"] == [{"pointer": "/email", "name": "email"}]
    with pytest.raises(TypeError):
        aegis.inspect(7)
