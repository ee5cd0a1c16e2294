"""A second implementation of docs/formats.md, "Sealed fields", which made pii-event-v1.json.

It takes the boxes from reference.py beside it, and shares no code with the Rust one. Where values stand in an event it is
told by hand; it does not parse JSON.

    pip install kyber-py==1.2.0 cryptography
    python pii_reference.py > pii-event-v1.json      # every value is fixed, so a second run prints the same file
"""

import base64
import hashlib
import hmac
import json

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from reference import ALGORITHM, encapsulate, fixed, key_of_seed, keys, length_prefixed

DEK = "dek-v1-20260101"
TIME = "2026-01-01T00:00:00Z"
CATALOGUE = "cat1-5aa700a4123ebcd2"
TOKEN_KEY = fixed("token key", 32)


def text(raw):
    return base64.b64encode(raw).decode()


def token(tenant, field, epoch, kind, value):
    info = length_prefixed([b"aegis/search-token/v1", tenant.encode(), field.encode(), epoch.to_bytes(4, "big")])
    field_key = hmac.digest(TOKEN_KEY, info, "sha256")
    digest = hmac.digest(field_key, length_prefixed([kind, value]), "sha256")
    return f"{epoch}:{digest[:16].hex()}"


def main():
    seed = hashlib.shake_256(fixed("first X-Wing seed", 32)).digest(96)
    public, private = key_of_seed(seed)
    encapsulation, shared_secret = encapsulate(public, fixed("encapsulation one", 64))
    aead_key, commitment_key = keys(shared_secret, "field")
    vectors = {
        "format": "aegis/sealed-field/v1",
        "private_key": private.hex(),
        "dek_version": DEK,
        "token_key": TOKEN_KEY.hex(),
        "events": [],
    }
    count = 0

    def field(pointer, value, bound_by="pointer", hash="hmac-sha256", compact=False, tenant="", event_id="", tok="", named=False):
        nonlocal count
        name = pointer.rsplit("/", 1)[1]
        first = bound_by + ("+sha256" if hash == "sha256" else "") + (f"+token:{tok}" if tok else "")
        parts = [first, pointer if bound_by == "pointer" else name, DEK, ALGORITHM, TIME]
        parts += [CATALOGUE] if compact or named else []
        parts += [tenant, event_id] if tenant or event_id else []
        associated_data = length_prefixed([part.encode() for part in parts])
        nonce = fixed(f"field nonce {count}", 12)
        count += 1
        plaintext = value.encode()
        body = nonce + AESGCM(aead_key).encrypt(nonce, plaintext, associated_data)
        if hash == "sha256":
            digest = "sha256:" + hashlib.sha256(plaintext).hexdigest()
        else:
            digest = "hmac-sha256:" + hmac.digest(commitment_key, nonce + associated_data + plaintext, "sha256").hex()
        members = ['"_encrypted":true']
        if not compact:
            members += [f'"_algorithm":"{ALGORITHM}"', f'"_dek_version":"{DEK}"']
        members += [f'"_ciphertext":"{text(body if compact else encapsulation + body)}"', f'"_plaintext_hash":"{digest}"']
        members += [] if compact else [f'"_encrypted_at":"{TIME}"']
        members += [f'"_catalogue":"{CATALOGUE}"'] if named else []
        members += [f'"_token":"{tok}"'] if tok else []
        return "{" + ",".join(members) + "}", parts

    header = (
        f'"_aegis":{{"_form":"compact","_algorithm":"{ALGORITHM}","_dek_version":"{DEK}","_encrypted_at":"{TIME}",'
        f'"_catalogue":"{CATALOGUE}","_encapsulation":"{text(encapsulation)}"}},'
    )

    def event(name, template, fields, compact=False, tenant="", event_id="", **options):
        plain, sealed, lists = template, template, []
        for number, (pointer, value) in enumerate(fields):
            tok = options.pop("tok", "")
            envelope, parts = field(pointer, value, compact=compact, tenant=tenant, event_id=event_id, tok=tok, **options)
            plain = plain.replace(f"<{number}>", value)
            sealed = sealed.replace(f"<{number}>", envelope)
            lists.append(parts)
        if compact:
            sealed = sealed.replace("{", "{" + header, 1)
        vectors["events"].append(
            {"name": name, "tenant": tenant, "event_id": event_id, "plain": plain, "associated_data": lists, "sealed": sealed}
        )

    alice = '"alice"'
    event("one field", '{"actor_id":<0>,"ok":true}', [("/actor_id", alice)])
    event("bound by name", '{"actor_id":<0>}', [("/actor_id", alice)], bound_by="name")
    event("bare digest", '{"actor_id":<0>}', [("/actor_id", alice)], hash="sha256")
    event("bare digest, by name", '{"actor_id":<0>}', [("/actor_id", alice)], hash="sha256", bound_by="name")
    event("tenant", '{"actor_id":<0>}', [("/actor_id", alice)], tenant="acme")
    event("event id", '{"actor_id":<0>}', [("/actor_id", alice)], event_id="evt-1")
    event("tenant and event id", '{"actor_id":<0>}', [("/actor_id", alice)], tenant="acme", event_id="evt-1")
    event("deep, with every type", '{ "a/b":[ {"m~n":{"signer_id":<0>}},{"author_id" : <1>}],"actor_id":<2>,"actor_id":<3>}\n',
          [("/a~1b/0/m~0n/signer_id", "1e400"), ("/a~1b/1/author_id", '[ null, {"actor_id":0.10} ]'),
           ("/actor_id", "null"), ("/actor_id", '"\\ud800"')])
    event("escaped name", '{"actor\\u005fid":<0>}', [("/actor_id", alice)])
    event("search token", '{"actor_id":<0>}', [("/actor_id", alice)], tok=token("", "actor_id", 1, b"string", b"alice"))
    event("compact", '{"actor_id":<0>,"x":{"author_id":<1>}}', [("/actor_id", alice), ("/x/author_id", '"bob"')], compact=True)
    event("compact, tenant", '{"actor_id":<0>}', [("/actor_id", alice)], compact=True, tenant="acme")
    event("compact, bare digest", '{"actor_id":<0>}', [("/actor_id", alice)], compact=True, hash="sha256")
    event("compact, search token", '{"actor_id":<0>}', [("/actor_id", alice)], compact=True,
          tok=token("", "actor_id", 1, b"string", b"alice"))
    event("catalogue named", '{"actor_id":<0>}', [("/actor_id", alice)], named=True,
          tok=token("", "actor_id", 1, b"string", b"alice"))
    event("nothing sealed", '{"agent":"x"}', [])
    print(json.dumps(vectors, indent=1))


if __name__ == "__main__":
    main()
