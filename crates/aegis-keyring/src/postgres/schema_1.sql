-- Schema 1. Never change it: keyrings were made with it. Write schema_2.sql.
-- Times are RFC 3339, UTC. A DEK's ordinal is its version as a number.

-- One row, which every writer locks first.
CREATE TABLE aegis.keyring (
    one BOOLEAN PRIMARY KEY DEFAULT true CHECK (one),
    program TEXT NOT NULL,
    version BIGINT NOT NULL
);

INSERT INTO aegis.keyring (program, version) VALUES ('aegis-keyring', 1);

-- What was committed lately, so that a writer whose connection was lost can ask.
CREATE TABLE aegis.commits (
    id UUID PRIMARY KEY,
    at TIMESTAMPTZ NOT NULL DEFAULT now()
);

CREATE INDEX commits_by_age ON aegis.commits (at);

CREATE TABLE aegis.keks (
    id BIGINT PRIMARY KEY,
    key_id BYTEA NOT NULL UNIQUE CHECK (length(key_id) = 32),
    public_key BYTEA NOT NULL CHECK (length(public_key) = 1216),
    provider TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('incoming', 'active', 'grace', 'retired')),
    created_at TEXT NOT NULL,
    changed_at TEXT NOT NULL,
    grace_until TEXT
);

CREATE UNIQUE INDEX one_active_kek ON aegis.keks (state) WHERE state = 'active';
CREATE UNIQUE INDEX one_incoming_kek ON aegis.keks (state) WHERE state = 'incoming';

CREATE TABLE aegis.deks (
    ordinal BIGINT PRIMARY KEY CHECK (ordinal > 0),
    scope TEXT NOT NULL CHECK (length(scope) BETWEEN 1 AND 64),
    state TEXT NOT NULL CHECK (state IN ('active', 'decrypt_only', 'retired', 'destroyed')),
    messages BIGINT NOT NULL CHECK (messages >= 0),
    bytes BIGINT NOT NULL CHECK (bytes >= 0),
    created_at TEXT NOT NULL,
    changed_at TEXT NOT NULL,
    destroy_after TEXT,
    public_key BYTEA NOT NULL CHECK (length(public_key) = 1216)
);

CREATE UNIQUE INDEX one_active_dek ON aegis.deks (scope) WHERE state = 'active';
CREATE INDEX deks_of_scope ON aegis.deks (scope, ordinal);
CREATE INDEX deks_in_state ON aegis.deks (state, ordinal);
CREATE INDEX deks_of_scope_in_state ON aegis.deks (scope, state, ordinal);

CREATE TABLE aegis.wrappings (
    kek BIGINT NOT NULL REFERENCES aegis.keks (id),
    dek BIGINT NOT NULL REFERENCES aegis.deks (ordinal),
    verified_at TEXT,
    sealed BYTEA NOT NULL CHECK (length(sealed) BETWEEN 1 AND 65536),
    PRIMARY KEY (kek, dek)
);

-- What is encrypted does not compress.
ALTER TABLE aegis.wrappings ALTER COLUMN sealed SET STORAGE EXTERNAL;
CREATE INDEX wrappings_of_dek ON aegis.wrappings (dek);
CREATE INDEX unverified_wrappings ON aegis.wrappings (kek, dek) WHERE verified_at IS NULL;
