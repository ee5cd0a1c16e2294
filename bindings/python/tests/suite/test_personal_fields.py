"""Sealing and opening, in every form of an event; and what attackers do to events."""

from __future__ import annotations

import base64
import copy
import json
import pickle
import random
import string
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, List, Tuple

import pytest

import aegis_governance as aegis
from aegis_governance import errors

from conftest import DEK

FORMS = ["self-contained", "compact"]


def text(event: Any) -> bytes:
    return json.dumps(event).encode()


def arbitrary(source: random.Random, depth: int = 0) -> Any:
    """Any JSON value, as Python has it."""
    kinds = "sifbn" if depth > 4 else "sifbnloo"
    kind = source.choice(kinds)
    if kind == "s":
        letters = string.printable + "\u00e9\u4e16\U0001f512\"\\\u2028\ud800\udfff\x00"
        return "".join(source.choice(letters) for _ in range(source.randrange(12)))
    if kind == "i":
        return source.randrange(-(10 ** source.randrange(1, 40)), 10 ** source.randrange(1, 40))
    if kind == "f":
        return source.choice([0.1, -0.0, 1e308, 5e-324, 1e16, 123456.789, source.random()])
    if kind in "bn":
        return source.choice([True, False, None])
    if kind == "l":
        return [arbitrary(source, depth + 1) for _ in range(source.randrange(4))]
    names = ["actor_id", "requested_by", "a", "\u00fc\"", "", "decision_actor", "_x", "x\ud800"]
    return {source.choice(names): arbitrary(source, depth + 1) for _ in range(source.randrange(5))}


@pytest.mark.parametrize("form", FORMS)
def test_any_dict_comes_back_equal(kek: Any, decryptor: Any, form: str) -> None:
    enricher = aegis.create_pii_enricher(kek.get_public_key(), DEK, form=form)
    source = random.Random(7)
    for _ in range(400):
        event = {"event": arbitrary(source), "actor_id": arbitrary(source), "in": [arbitrary(source)]}
        before = copy.deepcopy(event)
        sealed = enricher(event)
        assert event == before, "the program's own event is left alone"
        opened = decryptor(sealed)
        assert opened == event and repr(opened) == repr(event)


@pytest.mark.parametrize("form", FORMS)
def test_any_text_comes_back_byte_for_byte(kek: Any, decryptor: Any, form: str) -> None:
    enricher = aegis.create_pii_enricher(kek.get_public_key(), DEK, form=form)
    for event in [
        b' { "actor_id" : 0.10 , "b" : 1e400 , "actor_id" : [ 1 , {"signer_id":-0.0E+1} ] } ',
        b'{"author\\u005fid":"x","n":123456789012345678901234567890}',
        b'{"actor_id":"\\ud800","requested_by":null}',
        b'[1,{"actor_id":{}}]',
        b'{"x":{"y":[[[{"workflow_id":true}]]]}}\n',
        b"7",
        b'{"actor_id":""}',
    ]:
        sealed = enricher(event)
        assert decryptor(sealed) == event and type(sealed) is bytes
        assert enricher(sealed) == sealed, "encrypting twice is encrypting once"
        as_text = enricher(event.decode())
        assert type(as_text) is str and decryptor(as_text) == event.decode()


def test_no_personal_value_is_left_in_the_clear(enricher: Any, events: List[Any]) -> None:
    sealed = json.dumps(enricher.encrypt_batch(events))
    for word in ["example.org", "person-", "because of", "risk_lead\""]:
        assert word not in sealed


def test_a_batch_is_what_its_events_are(enricher: Any, decryptor: Any, events: List[Any]) -> None:
    mixed = [events[0], json.dumps(events[1]), text(events[2]), bytearray(text(events[3]))] + events * 10
    sealed = enricher.encrypt_batch(mixed)
    assert [type(event) for event in sealed[:4]] == [dict, str, bytes, bytes]
    assert decryptor.decrypt_batch(sealed) == mixed
    assert enricher.encrypt_batch(iter(events)) != sealed and enricher.encrypt_batch([]) == []
    with pytest.raises(errors.EventError) as caught:
        enricher.encrypt_batch([*events, "{", *events])
    assert caught.value.index == 20
    returned = enricher.encrypt_batch([events[0], "{", {1: 2}, events[1]], errors="return")
    assert [type(event).__name__ for event in returned] == ["dict", "EventError", "EventError", "dict"]
    assert decryptor(returned[3]) == events[1]
    with pytest.raises(TypeError):
        enricher.encrypt_batch([7])


class Attack:
    """A sealed event that somebody has been at, and what becomes of it."""

    def __init__(self, kek: Any) -> None:
        self.enricher = aegis.create_pii_enricher(kek.get_public_key(), DEK)
        self.decryptor = aegis.PIIDecryptor(kek)
        self.sealed = self.enricher({"actor_id": "alice", "author_id": "bob", "other": 1})

    def change(self, field: str, **members: Any) -> Dict[str, Any]:
        event = copy.deepcopy(self.sealed)
        for name, value in members.items():
            if value is None:
                del event[field][name]
            else:
                event[field][name] = value
        return event


@pytest.fixture
def attack(kek: Any) -> Attack:
    return Attack(kek)


@pytest.mark.parametrize(
    "changed",
    [
        {"_ciphertext": None},
        {"_plaintext_hash": None},
        {"_encrypted_at": None},
        {"_dek_version": None},
        {"_algorithm": None},
        {"_algorithm": "none"},
        {"_algorithm": "x25519"},
        {"_dek_version": "dek-v2-20260101"},
        {"_dek_version": "dek-v1-20260231"},
        {"_dek_version": 1},
        {"_encrypted": False},
        {"_encrypted": "true"},
        {"_ciphertext": "AAAA"},
        {"_ciphertext": "not base64!"},
        {"_ciphertext": 7},
        {"_plaintext_hash": "md5:00"},
        {"_plaintext_hash": "sha256:00"},
        {"_encrypted_at": "yesterday"},
        {"_encrypted_at": "2026-02-30T00:00:00Z"},
        {"plaintext": "alice"},
    ],
    ids=lambda changed: " ".join(changed),
)
def test_what_is_no_envelope_is_data_and_sealed_again(attack: Attack, changed: Dict[str, Any]) -> None:
    """An object that claims to be encrypted cannot smuggle anything past."""
    forged = attack.change("actor_id", **changed)
    again = attack.enricher(forged)
    assert again["actor_id"] != forged["actor_id"] and again["actor_id"]["_encrypted"] is True
    assert again["author_id"] == attack.sealed["author_id"]
    assert attack.decryptor(again)["actor_id"] == forged["actor_id"]
    assert attack.decryptor(forged)["actor_id"] == forged["actor_id"], "it is data, and never opened"


def test_a_forged_claim_that_carries_plaintext_is_sealed(attack: Attack) -> None:
    forged = {"actor_id": {"_encrypted": True, "value": "alice in the clear"}}
    sealed = attack.enricher(forged)
    assert "alice" not in json.dumps(sealed) and attack.decryptor(sealed) == forged


@pytest.mark.parametrize(
    "change",
    [
        lambda event: event.update(actor_id=event["author_id"], author_id=event["actor_id"]),
        lambda event: event.update(decision_actor=event.pop("actor_id")),
        lambda event: event.update(inner={"actor_id": event.pop("actor_id")}),
        lambda event: event["actor_id"].update(_dek_version="dek-v1-20260102"),
        lambda event: event["actor_id"].update(_encrypted_at="2026-01-01T00:00:00Z"),
        lambda event: event["actor_id"].update(_plaintext_hash="hmac-sha256:" + "0" * 64),
        lambda event: event["actor_id"].update(_plaintext_hash="sha256:" + "0" * 64),
        lambda event: event["actor_id"].update(_ciphertext=event["author_id"]["_ciphertext"]),
        lambda event: event["actor_id"].update(
            _ciphertext=base64.b64encode(base64.b64decode(event["actor_id"]["_ciphertext"])[:-1] + b"\0").decode()
        ),
    ],
    ids=["swapped", "renamed", "moved inwards", "version", "time", "hash", "kind of hash", "other box", "last byte"],
)
def test_a_field_opens_where_and_as_it_was_sealed_only(attack: Attack, change: Callable[[Any], Any]) -> None:
    event = copy.deepcopy(attack.sealed)
    change(event)
    with pytest.raises(errors.DecryptError) as caught:
        attack.decryptor(event)
    assert "alice" not in str(caught.value) and caught.value.help


def test_the_rest_of_an_event_may_be_left_sealed(kek: Any, attack: Attack) -> None:
    event = attack.change("actor_id", _encrypted_at="2026-01-01T00:00:00Z")
    leaving = aegis.PIIDecryptor(kek, unopenable="leave")
    assert leaving(event) == {"actor_id": event["actor_id"], "author_id": "bob", "other": 1}
    rights = aegis.PIIDecryptor(kek, fields=["author_id"])
    assert rights(attack.sealed) == {"actor_id": attack.sealed["actor_id"], "author_id": "bob", "other": 1}
    assert aegis.PIIDecryptor(kek, fields=[])(attack.sealed) == attack.sealed


def test_fields_are_bound_to_tenant_and_event(kek: Any) -> None:
    key = kek.get_public_key()
    enricher = aegis.create_pii_enricher(key, DEK, tenant="acme", event_id_member="id")
    sealed = enricher({"id": "e1", "actor_id": "alice"})
    right = {"tenant": "acme", "event_id_member": "id"}
    assert aegis.PIIDecryptor(kek, **right)(sealed) == {"id": "e1", "actor_id": "alice"}
    for wrong in [{}, {"tenant": "other", "event_id_member": "id"}, {"tenant": "acme"}]:
        with pytest.raises(errors.DecryptError):
            aegis.PIIDecryptor(kek, **wrong)(sealed)
    with pytest.raises(errors.DecryptError):
        aegis.PIIDecryptor(kek, **right)({**sealed, "id": "e2"})
    for event in [{"actor_id": 1}, {"actor_id": 1, "id": {}}, '{"id":1,"id":2,"actor_id":3}']:
        with pytest.raises(errors.EventError):
            enricher(event)


def test_a_version_that_is_not_there_is_said(pair: Any, kek: Any) -> None:
    decryptor = aegis.PIIDecryptor({DEK: pair[0]})
    sealed = aegis.create_pii_enricher(pair[1], DEK)({"actor_id": "alice"})
    assert decryptor(sealed) == {"actor_id": "alice"}
    later = aegis.create_pii_enricher(pair[1], "dek-v1-20260102-2")({"actor_id": "alice"})
    with pytest.raises(errors.DecryptError, match="dek-v1-20260102-2"):
        decryptor(later)
    with pytest.raises(errors.DecryptError):
        aegis.PIIDecryptor(kek)(sealed)


def test_every_duplicate_and_every_spelling_of_a_name_is_sealed(enricher: Any, decryptor: Any) -> None:
    event = b'{"actor_id":"alice","actor\\u005fid":"bobby","\\u0061ctor_id":"carol","signer_id":{"signer_id":"deep1"}}'
    sealed = enricher(event)
    for word in [b"alice", b"bobby", b"carol", b"deep1"]:
        assert word not in sealed
    assert decryptor(sealed) == event


HOSTILE: List[Tuple[str, Any]] = [
    ("empty", b""),
    ("only white space", b"  \n"),
    ("cut off", b'{"actor_id":"al'),
    ("two texts", b"{}{}"),
    ("not UTF-8", b'{"actor_id":"\xff"}'),
    ("overlong UTF-8", b'{"actor_id":"\xc0\xaf"}'),
    ("a surrogate in UTF-8", b'{"actor_id":"\xed\xa0\x80"}'),
    ("a control character", b'{"actor_id":"\x01"}'),
    ("a bad escape", b'{"actor_id":"\\x41"}'),
    ("NaN", b'{"actor_id":NaN}'),
    ("a leading zero", b'{"actor_id":01}'),
    ("a trailing comma", b'{"actor_id":1,}'),
    ("a byte order mark", b"\xef\xbb\xbf{}"),
    ("a zero byte", b"{}\0"),
    ("a million levels", b"[" * 1_000_000),
    ("a million levels of objects", b'{"actor_id":' * 1_000_000),
    ("more than 4 MiB", b'{"actor_id":"' + b"x" * (4 << 20) + b'"}'),
    ("too many fields", b"[" + b",".join([b'{"actor_id":1}'] * 1025) + b"]"),
    ("a lone surrogate in a str", '{"actor_id":"\ud800"}'),
    ("a name that is no str", {1: 2}),
    ("a value that JSON has not", {"actor_id": object()}),
    ("a set", {"actor_id": {1}}),
    ("bytes inside", {"actor_id": b"alice"}),
    ("not a number", {"actor_id": float("nan")}),
    ("infinity", {"actor_id": float("-inf")}),
    ("an endless integer", {"actor_id": 10**5000}),
    ("4 MiB in a dict", {"actor_id": "x" * (5 << 20)}),
]


@pytest.mark.parametrize("event", [event for _, event in HOSTILE], ids=[name for name, _ in HOSTILE])
def test_a_hostile_event_is_refused_and_nothing_of_it_is_shown(enricher: Any, decryptor: Any, event: Any) -> None:
    for call in [enricher, enricher.encrypt]:
        with pytest.raises(errors.EventError) as caught:
            call(event)
        shown = str(caught.value) + repr(caught.value.causes)
        assert len(shown) < 400 and "alice" not in shown and "xxxx" not in shown
    # What is not sealed is no field to the decryptor.
    if isinstance(event, bytes) and len(event) < 1_000_000 and not event.startswith(b"[{"):
        with pytest.raises(errors.EventError):
            decryptor(event)


def test_an_event_that_contains_itself_is_refused(enricher: Any) -> None:
    event: Dict[str, Any] = {"list": []}
    event["list"].append(event)
    with pytest.raises(errors.EventError) as caught:
        enricher(event)
    assert caught.value.kind == "TooDeep"


def test_a_thousand_levels_are_taken_and_come_back(enricher: Any, decryptor: Any) -> None:
    event: Any = {"actor_id": "alice"}
    for _ in range(498):
        event = {"x": [event]}
    inner = decryptor(enricher(event))
    for _ in range(498):
        inner = inner["x"][0]
    assert inner == {"actor_id": "alice"}
    event = '{"x":[' * 498 + '{"actor_id":"alice"}' + "]}" * 498
    # On a thread with a small stack as well.
    threading.stack_size(512 * 1024)
    try:
        found: List[Any] = []
        thread = threading.Thread(target=lambda: found.append(decryptor(enricher(event))))
        thread.start()
        thread.join()
    finally:
        threading.stack_size(0)
    assert found == [event]


@pytest.mark.parametrize("event", [7, None, [1], (1,), 1.5, object(), True])
def test_what_is_no_event_is_a_type_error(enricher: Any, event: Any) -> None:
    with pytest.raises(TypeError):
        enricher(event)


def test_options_that_make_no_sense_are_refused_before_the_first_event(kek: Any) -> None:
    key = kek.get_public_key()
    for options in [{"form": "x"}, {"plaintext_hash": "md5"}, {"bind_by": ""}]:
        with pytest.raises(ValueError):
            aegis.create_pii_enricher(key, DEK, **options)
    for options in [{"tenant": ""}, {"event_id_member": "actor_id"}, {"event_id_member": ""}]:
        with pytest.raises(errors.OptionsError):
            aegis.create_pii_enricher(key, DEK, **options)
    with pytest.raises(errors.OptionsError):
        aegis.create_pii_enricher(key, "v1")
    with pytest.raises(TypeError):
        aegis.create_pii_enricher(key, DEK, unknown=1)
    with pytest.raises(ValueError):
        aegis.PIIDecryptor(kek, unopenable="ignore")
    with pytest.raises(TypeError):
        aegis.PIIDecryptor("key")


def test_a_catalogue_says_which_fields_are_personal(kek: Any, decryptor: Any) -> None:
    guide = aegis.Catalogue()
    assert len(guide) == 12 and guide.fields[0]["name"] == "actor_assignments"
    own = guide.at_least("critical").extended(["email", "/users/*/phone"])
    assert len(own) == 8 and own.version != guide.version
    enricher = aegis.create_pii_enricher(kek.get_public_key(), DEK, catalogue=own)
    event = {"email": "a@b", "users": [{"phone": "1"}, {"phone": "2"}], "actor_id": "stays"}
    sealed = enricher(event)
    assert sealed["actor_id"] == "stays" and sealed["email"]["_encrypted"] and sealed["users"][1]["phone"]["_encrypted"]
    assert decryptor(sealed) == event
    assert aegis.Catalogue.of(["email"]).only(["email"]).version == aegis.Catalogue.of(["email"]).version
    assert aegis.Catalogue.from_json('{"without":["actor_id"]}').version == guide.without(["actor_id"]).version
    for refused in [
        lambda: guide.only(["actr_id"]),
        lambda: guide.without(["x"]),
        lambda: guide.extended(["_ciphertext"]),
        lambda: guide.extended(["/a~"]),
        lambda: aegis.Catalogue.of(["a", "a"]),
        lambda: aegis.Catalogue.of([]),
        lambda: guide.at_least("urgent"),
        lambda: aegis.Catalogue.from_json("[]"),
    ]:
        with pytest.raises(errors.CatalogueError):
            refused()


def test_an_enricher_is_pickled_without_a_secret(kek: Any, decryptor: Any) -> None:
    options = {"form": "compact", "tenant": "t", "catalogue": aegis.Catalogue().extended(["email"])}
    enricher = aegis.create_pii_enricher(kek.get_public_key(), DEK, **options)
    again = pickle.loads(pickle.dumps(enricher))
    assert again.catalogue.version == enricher.catalogue.version and again.dek_version == DEK
    sealed = again({"email": "x"})
    assert "_aegis" in sealed and aegis.PIIDecryptor(kek, tenant="t")(sealed) == {"email": "x"}


def test_threads_seal_and_open_at_the_same_time(enricher: Any, decryptor: Any, events: List[Any]) -> None:
    def work(number: int) -> bool:
        event = {**events[number % 20], "actor_id": number}
        return bool(decryptor(enricher(event)) == event)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(800)))


def test_no_two_boxes_have_a_nonce_in_common(enricher: Any) -> None:
    boxes = [base64.b64decode(event["actor_id"]["_ciphertext"]) for event in enricher.encrypt_batch([{"actor_id": 1}] * 2000)]
    assert len({box[1120:1132] for box in boxes}) == 2000
