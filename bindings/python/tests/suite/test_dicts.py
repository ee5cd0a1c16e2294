"""Events that are `dict`: most go a short way, in which only an excerpt becomes JSON. It leads where the long way leads.

What goes the long way is told by its class: a subclass of `dict` does.
"""

from __future__ import annotations

import copy
import enum
import json
import random
from collections import OrderedDict
from typing import Any, Callable, Dict, List

import pytest

import aegis_governance as aegis
from aegis_governance import errors

from conftest import DEK
from test_personal_fields import arbitrary

OPTIONS: List[Dict[str, Any]] = [
    {},
    {"bind_by": "name", "catalogue_mark": True, "plaintext_hash": "sha256"},
    {"tenant": "acme", "event_id_member": "id"},
    {"catalogue": aegis.Catalogue().extended(["\u00fc\"", "x\ud7ff", "_x"])},
    {"catalogue": aegis.Catalogue().extended(["/in/0"])},
    {"form": "compact"},
]


def long_way(event: Dict[Any, Any]) -> Dict[Any, Any]:
    return OrderedDict(event)


def without_boxes(value: Any) -> Any:
    """A sealed event without what differs each time."""
    if isinstance(value, list):
        return [without_boxes(element) for element in value]
    if not isinstance(value, dict):
        return value
    stands = {"_ciphertext": len, "_plaintext_hash": len, "_encrypted_at": len, "_encapsulation": len}
    return {
        name: stands[name](inner) if name in stands and isinstance(inner, str) else without_boxes(inner)
        for name, inner in value.items()
    }


def containers(value: Any) -> List[int]:
    if isinstance(value, dict):
        return [id(value)] + [number for inner in value.values() for number in containers(inner)]
    if isinstance(value, (list, tuple)):
        return [id(value)] + [number for inner in value for number in containers(inner)]
    return []


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_both_ways_lead_to_the_same(kek: Any, options: Dict[str, Any]) -> None:
    enricher = aegis.create_pii_enricher(kek.get_public_key(), DEK, **options)
    binding = {name: value for name, value in options.items() if name in ("tenant", "event_id_member")}
    decryptor = aegis.PIIDecryptor(kek, **binding)
    source = random.Random(11)
    for _ in range(120):
        event = {"id": source.choice(["e1", 7, -1.5]), "in": [arbitrary(source)], "tuple": (1, [2], arbitrary(source))}
        for name in ["actor_id", "signer_id", "event"]:
            if source.random() < 0.6:
                event[name] = arbitrary(source)
        before = copy.deepcopy(event)
        short, long = enricher(event), enricher(long_way(event))
        assert event == before and type(short) is dict
        assert json.dumps(without_boxes(short)) == json.dumps(without_boxes(long))
        assert not set(containers(short)) & set(containers(event)), "the program may change its event, or the result"
        for sealed in [short, long, enricher(short), json.loads(json.dumps(short))]:
            opened = decryptor(sealed)
            assert type(opened) is dict and opened == decryptor(long_way(sealed))
            assert json.dumps(opened) == json.dumps(event)
            assert not set(containers(opened)) & set(containers(sealed))


def test_what_is_not_sealed_is_shared_and_not_made_again(enricher: Any, decryptor: Any) -> None:
    """Which shows that there is a short way."""
    event = {"text": "long enough " * 9, "number": 10**12, "actor_id": "alice", "list": [["inner text"]]}
    sealed = enricher(event)
    opened = decryptor(sealed)
    for given in [sealed, opened, *enricher.encrypt_batch([event]), *decryptor.decrypt_batch([sealed])]:
        assert given["text"] is event["text"] and given["number"] is event["number"]
        assert given["list"][0][0] is event["list"][0][0] and given["list"] is not event["list"]


class Name(str):
    pass


class Level(enum.IntEnum):
    HIGH = 3


def nested(levels: int, inner: Any) -> Any:
    for number in range(levels):
        inner = [inner] if number % 2 else {"x": inner}
    return inner


UNUSUAL: Dict[str, Callable[[], Dict[Any, Any]]] = {
    "a key of a subclass": lambda: {Name("actor_id"): "alice", Name("x"): 1},
    "texts of a subclass": lambda: {"actor_id": Name("alice"), "x": Name("y")},
    "an enumeration": lambda: {"actor_id": Level.HIGH, "x": Level.HIGH},
    "a dict of a subclass inside": lambda: {"x": OrderedDict(actor_id="alice")},
    "large integers": lambda: {"x": 10**300, "actor_id": -(10**300), "y": 2**63, "z": -(2**63)},
    "lone surrogates": lambda: {"x\ud800": "\udfff", "actor_id": "\ud800", "in\ud800": {"actor_id": 1}},
    "many elements before": lambda: {"x": [0] * 5000 + [{"actor_id": "alice"}, 1, {"signer_id": 2}]},
    "one object twice": lambda: {"x": [shared := {"actor_id": "alice"}, shared], "y": shared},
    "an envelope that is none": lambda: {"x": {"_encrypted": True, "actor_id": "alice"}, "actor_id": 1},
    "a claim of another kind": lambda: {"x": {"_encrypted": [1, {"actor_id": "alice"}]}},
    "a claim in a field": lambda: {"actor_id": {"_encrypted": True, "value": "alice"}},
    "a header that is none": lambda: {"_aegis": {"actor_id": "alice"}, "actor_id": 1},
    "a header further in": lambda: {"x": {"_aegis": 1, "actor_id": "alice"}},
    "names with slashes": lambda: {"a/b~c": [{"actor_id": "alice"}]},
    "nothing": dict,
    "empty ones": lambda: {"x": {}, "y": [], "z": (), "actor_id": {}, "signer_id": []},
    "deep": lambda: {"x": nested(300, {"actor_id": "alice"})},
}


@pytest.mark.parametrize("make", UNUSUAL.values(), ids=UNUSUAL)
def test_what_is_unusual_comes_back_as_json_has_it(enricher: Any, decryptor: Any, make: Callable[[], Any]) -> None:
    event = make()
    short, long = enricher(event), enricher(long_way(event))
    assert json.dumps(without_boxes(short)) == json.dumps(without_boxes(long))
    assert "alice" not in json.dumps(short)
    opened = decryptor(short)
    assert json.dumps(opened) == json.dumps(json.loads(json.dumps(event))) == json.dumps(decryptor(long_way(long)))


def cyclic() -> Dict[str, Any]:
    event: Dict[str, Any] = {"actor_id": "alice", "list": []}
    event["list"].append(event)
    return event


def doubled(times: int) -> Dict[str, Any]:
    inner: List[Any] = []
    for _ in range(times):
        inner = [inner, inner]
    return {"actor_id": "alice", "x": inner}


REFUSED: Dict[str, Any] = {
    "a key that is none": lambda: {"x": {1: 2}, "actor_id": 1},
    "a key that is none, of a field": lambda: {"actor_id": {b"x": 2}},
    "NaN": lambda: {"x": [float("nan")]},
    "an infinity": lambda: {"x": float("inf")},
    "a set": lambda: {"x": {1}},
    "bytes": lambda: {"x": [b"alice"]},
    "an integer without end": lambda: {"x": 10**5000},
    "itself inside": cyclic,
    "itself in a field": lambda: {"actor_id": cyclic()},
    "too deep": lambda: {"x": nested(1000, {"actor_id": "alice"})},
    "too deep in a field": lambda: {"actor_id": nested(1001, 1)},
    "two to the power of 60": lambda: doubled(60),
    "two to the power of 60 in a field": lambda: {"actor_id": doubled(60)},
    "too long": lambda: {"x": "x" * 300_000},
    "a list that is too long": lambda: {"x": [None] * 100_000},
    "too many fields": lambda: {"x": [{"actor_id": 1}] * 1025},
    "a place that is too long": lambda: {"x" * 2100: {"actor_id": 1}},
}


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED)
def test_both_ways_refuse_the_same(kek: Any, make: Callable[[], Any]) -> None:
    enricher = aegis.create_pii_enricher(kek.get_public_key(), DEK, max_event_len=1 << 18)
    said = []
    for event in [make(), long_way(make())]:
        for call in [enricher, lambda event: enricher.encrypt_batch([{"actor_id": 1}, event])]:
            with pytest.raises(errors.EventError) as caught:
                call(event)
            said.append((type(caught.value), str(caught.value), caught.value.kind, caught.value.help))
    assert len(set(said)) == 1


def test_a_sealed_dict_that_was_changed_is_refused_either_way(kek: Any, enricher: Any, decryptor: Any) -> None:
    sealed = enricher({"x": [1, {"actor_id": "alice"}], "signer_id": "bob", "n": 1})
    changes: List[Callable[[Any], Any]] = [
        lambda event: event["signer_id"].update(_ciphertext=event["x"][1]["actor_id"]["_ciphertext"]),
        lambda event: event["x"].insert(0, 0),
        lambda event: event["x"][1].update(signer_id=event.pop("signer_id")),
        lambda event: event["signer_id"].update(_encrypted_at="2026-01-01T00:00:00Z"),
    ]
    for change in changes:
        event = copy.deepcopy(sealed)
        change(event)
        said = []
        for given in [event, long_way(event)]:
            with pytest.raises(errors.DecryptError) as caught:
                decryptor(given)
            said.append((str(caught.value), caught.value.kind))
        assert said[0] == said[1]
        leaving = aegis.PIIDecryptor(kek, unopenable="leave")
        assert leaving(event) == leaving(long_way(event)) != event


def test_a_batch_says_which_dict_was_refused(enricher: Any, decryptor: Any) -> None:
    good = {"actor_id": "alice"}
    given = enricher.encrypt_batch([good] * 3 + [{"x": float("nan")}] + [good] * 9, errors="return")
    assert [number for number, event in enumerate(given) if not isinstance(event, dict)] == [3]
    sealed = enricher.encrypt_batch([{"actor_id": number, "n": number} for number in range(20)])
    sealed[4]["actor_id"], sealed[5]["actor_id"] = dict(sealed[5]["actor_id"], x=1), sealed[4]["actor_id"]
    sealed[11]["actor_id"]["_plaintext_hash"] = "hmac-sha256:" + "0" * 64
    opened = decryptor.decrypt_batch(sealed, errors="return")
    assert isinstance(opened[11], errors.DecryptError) and opened[5] == {"actor_id": 4, "n": 5}
    assert opened[4]["actor_id"]["x"] == 1, "it is no envelope"
    assert [event["actor_id"] for event in opened[12:]] == list(range(12, 20))
