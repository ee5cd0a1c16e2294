-- Schema 1. Never change it: stores were made with it. Write schema_2.sql.
-- Times are RFC 3339, UTC; only usable_until is in seconds since 1970, to be compared. The tables are those of
-- postgres/schema_1.sql, and every statement on them is the same.

-- Grows with each change of people and keys.
CREATE TABLE registry (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    revision INTEGER NOT NULL CHECK (revision >= 0)
) STRICT;

INSERT INTO registry (one, revision) VALUES (1, 0);

-- Roles are in the order of their names, with a space between.
CREATE TABLE people (
    person TEXT PRIMARY KEY CHECK (length(person) BETWEEN 1 AND 64),
    roles TEXT NOT NULL CHECK (length(roles) BETWEEN 1 AND 300)
) STRICT, WITHOUT ROWID;

CREATE TABLE keys (
    number INTEGER PRIMARY KEY CHECK (number > 0),
    key_id BLOB NOT NULL UNIQUE CHECK (length(key_id) = 32),
    person TEXT NOT NULL REFERENCES people (person),
    public_key TEXT NOT NULL CHECK (length(public_key) BETWEEN 1 AND 8192),
    registered TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('active', 'revoked', 'replaced')),
    ended TEXT CHECK ((ended IS NULL) = (state = 'active')),
    replaced_by BLOB CHECK ((replaced_by IS NULL) = (state <> 'replaced'))
) STRICT;

CREATE INDEX keys_of_person ON keys (person);

CREATE TABLE requests (
    number INTEGER PRIMARY KEY CHECK (number > 0),
    id TEXT NOT NULL UNIQUE CHECK (length(id) = 36),
    revision INTEGER NOT NULL CHECK (revision > 0),
    kind TEXT NOT NULL,
    subject TEXT NOT NULL CHECK (length(subject) BETWEEN 1 AND 200),
    audience TEXT NOT NULL CHECK (length(audience) BETWEEN 1 AND 80),
    requester TEXT NOT NULL CHECK (length(requester) BETWEEN 1 AND 64),
    -- ROLE=PEOPLE, in the order of the roles, with a space between.
    quorum TEXT NOT NULL CHECK (length(quorum) BETWEEN 1 AND 300),
    usable_until INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open', 'rejected', 'revoked', 'consumed')),
    closed_at TEXT CHECK ((closed_at IS NULL) = (state = 'open')),
    closed_by TEXT CHECK ((closed_by IS NULL) = (state = 'open'))
) STRICT;

-- The number ends every index, so a page is found in its place.
CREATE INDEX requests_of_kind ON requests (kind);
CREATE INDEX requests_of_requester ON requests (requester);
CREATE INDEX open_requests ON requests (usable_until) WHERE state = 'open';

-- Requests as they were made lie apart, so that a report over a million of them reads a few bytes of each.
CREATE TABLE documents (
    number INTEGER PRIMARY KEY REFERENCES requests (number),
    request TEXT NOT NULL CHECK (length(request) BETWEEN 1 AND 16384)
) STRICT;

CREATE TABLE signatures (
    request INTEGER NOT NULL REFERENCES requests (number),
    place INTEGER NOT NULL CHECK (place BETWEEN 0 AND 39),
    key INTEGER NOT NULL REFERENCES keys (number),
    decision TEXT NOT NULL CHECK (decision IN ('approve', 'reject')),
    role TEXT NOT NULL CHECK (length(role) BETWEEN 1 AND 32),
    signed TEXT NOT NULL,
    PRIMARY KEY (request, place)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX one_decision_of_a_key ON signatures (request, key, decision);
-- All that a report needs of them.
CREATE INDEX signatures_of_key ON signatures (key, request, place, decision, role, signed);

-- What was signed with lies apart, too. The number is 64 times that of the request, and the place.
CREATE TABLE texts (
    number INTEGER PRIMARY KEY CHECK (number > 0),
    signature TEXT NOT NULL CHECK (length(signature) BETWEEN 1 AND 16384)
) STRICT;

CREATE TABLE rotations (
    number INTEGER PRIMARY KEY CHECK (number > 0),
    old_key BLOB NOT NULL UNIQUE CHECK (length(old_key) = 32),
    person TEXT NOT NULL CHECK (length(person) BETWEEN 1 AND 64),
    reason TEXT NOT NULL CHECK (length(reason) BETWEEN 1 AND 4096),
    started TEXT NOT NULL,
    new_key BLOB CHECK (length(new_key) = 32),
    with_deks INTEGER NOT NULL CHECK (with_deks IN (0, 1)),
    step TEXT NOT NULL CHECK (
        step IN ('begun', 'key_revoked', 'key_registered', 'requests_reopened', 'reported', 'done')
    ),
    updated TEXT NOT NULL
) STRICT;

CREATE INDEX open_rotations ON rotations (number) WHERE step <> 'done';
