-- Schema 1. Never change it: stores were made with it. Write schema_2.sql.
-- Times are RFC 3339, UTC; only usable_until is in seconds since 1970, to be compared. The tables are those of
-- sqlite/schema_1.sql, and every statement on them is the same.

-- One row, which every writer locks first.
CREATE TABLE aegis_approval.approvals (
    one BOOLEAN PRIMARY KEY DEFAULT true CHECK (one),
    program TEXT NOT NULL,
    version BIGINT NOT NULL
);

INSERT INTO aegis_approval.approvals (program, version) VALUES ('aegis-approval', 1);

-- What was committed lately, so that a writer whose connection was lost can ask.
CREATE TABLE aegis_approval.commits (
    id UUID PRIMARY KEY,
    at TIMESTAMPTZ NOT NULL DEFAULT now()
);

CREATE INDEX commits_by_age ON aegis_approval.commits (at);

-- Grows with each change of people and keys.
CREATE TABLE aegis_approval.registry (
    one BIGINT PRIMARY KEY CHECK (one = 1),
    revision BIGINT NOT NULL CHECK (revision >= 0)
);

INSERT INTO aegis_approval.registry (one, revision) VALUES (1, 0);

-- Roles are in the order of their names, with a space between.
CREATE TABLE aegis_approval.people (
    person TEXT PRIMARY KEY CHECK (length(person) BETWEEN 1 AND 64),
    roles TEXT NOT NULL CHECK (length(roles) BETWEEN 1 AND 300)
);

CREATE TABLE aegis_approval.keys (
    number BIGINT PRIMARY KEY CHECK (number > 0),
    key_id BYTEA NOT NULL UNIQUE CHECK (length(key_id) = 32),
    person TEXT NOT NULL REFERENCES aegis_approval.people (person),
    public_key TEXT NOT NULL CHECK (length(public_key) BETWEEN 1 AND 8192),
    registered TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('active', 'revoked', 'replaced')),
    ended TEXT CHECK ((ended IS NULL) = (state = 'active')),
    replaced_by BYTEA CHECK ((replaced_by IS NULL) = (state <> 'replaced'))
);

CREATE INDEX keys_of_person ON aegis_approval.keys (person);

CREATE TABLE aegis_approval.requests (
    number BIGINT PRIMARY KEY CHECK (number > 0),
    id TEXT NOT NULL UNIQUE CHECK (length(id) = 36),
    revision BIGINT NOT NULL CHECK (revision > 0),
    kind TEXT NOT NULL,
    subject TEXT NOT NULL CHECK (length(subject) BETWEEN 1 AND 200),
    audience TEXT NOT NULL CHECK (length(audience) BETWEEN 1 AND 80),
    requester TEXT NOT NULL CHECK (length(requester) BETWEEN 1 AND 64),
    -- ROLE=PEOPLE, in the order of the roles, with a space between.
    quorum TEXT NOT NULL CHECK (length(quorum) BETWEEN 1 AND 300),
    usable_until BIGINT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open', 'rejected', 'revoked', 'consumed')),
    closed_at TEXT CHECK ((closed_at IS NULL) = (state = 'open')),
    closed_by TEXT CHECK ((closed_by IS NULL) = (state = 'open'))
);

CREATE INDEX requests_of_kind ON aegis_approval.requests (kind, number);
CREATE INDEX requests_of_requester ON aegis_approval.requests (requester, number);
CREATE INDEX open_requests ON aegis_approval.requests (usable_until) WHERE state = 'open';

-- Requests as they were made lie apart, so that a report over a million of them reads a few bytes of each.
CREATE TABLE aegis_approval.documents (
    number BIGINT PRIMARY KEY REFERENCES aegis_approval.requests (number),
    request TEXT NOT NULL CHECK (length(request) BETWEEN 1 AND 16384)
);

CREATE TABLE aegis_approval.signatures (
    request BIGINT NOT NULL REFERENCES aegis_approval.requests (number),
    place BIGINT NOT NULL CHECK (place BETWEEN 0 AND 39),
    key BIGINT NOT NULL REFERENCES aegis_approval.keys (number),
    decision TEXT NOT NULL CHECK (decision IN ('approve', 'reject')),
    role TEXT NOT NULL CHECK (length(role) BETWEEN 1 AND 32),
    signed TEXT NOT NULL,
    PRIMARY KEY (request, place)
);

CREATE UNIQUE INDEX one_decision_of_a_key ON aegis_approval.signatures (request, key, decision);
-- All that a report needs of them.
CREATE INDEX signatures_of_key ON aegis_approval.signatures (key, request, place) INCLUDE (decision, role, signed);

-- What was signed with lies apart, too. The number is 64 times that of the request, and the place.
CREATE TABLE aegis_approval.texts (
    number BIGINT PRIMARY KEY CHECK (number > 0),
    signature TEXT NOT NULL CHECK (length(signature) BETWEEN 1 AND 16384)
);

CREATE TABLE aegis_approval.rotations (
    number BIGINT PRIMARY KEY CHECK (number > 0),
    old_key BYTEA NOT NULL UNIQUE CHECK (length(old_key) = 32),
    person TEXT NOT NULL CHECK (length(person) BETWEEN 1 AND 64),
    reason TEXT NOT NULL CHECK (length(reason) BETWEEN 1 AND 4096),
    started TEXT NOT NULL,
    new_key BYTEA CHECK (length(new_key) = 32),
    with_deks BIGINT NOT NULL CHECK (with_deks IN (0, 1)),
    step TEXT NOT NULL CHECK (
        step IN ('begun', 'key_revoked', 'key_registered', 'requests_reopened', 'reported', 'done')
    ),
    updated TEXT NOT NULL
);

CREATE INDEX open_rotations ON aegis_approval.rotations (number) WHERE step <> 'done';
