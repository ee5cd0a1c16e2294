-- Schema 1. Never change it: keyrings were made with it. Write schema_2.sql.
-- Times are RFC 3339, UTC. A DEK's ordinal is its version as a number.

CREATE TABLE keks (
    id INTEGER PRIMARY KEY,
    key_id BLOB NOT NULL UNIQUE CHECK (length(key_id) = 32),
    public_key BLOB NOT NULL CHECK (length(public_key) = 1216),
    provider TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('incoming', 'active', 'grace', 'retired')),
    created_at TEXT NOT NULL,
    changed_at TEXT NOT NULL,
    grace_until TEXT
) STRICT;

CREATE UNIQUE INDEX one_active_kek ON keks (state) WHERE state = 'active';
CREATE UNIQUE INDEX one_incoming_kek ON keks (state) WHERE state = 'incoming';

CREATE TABLE deks (
    ordinal INTEGER PRIMARY KEY CHECK (ordinal > 0),
    scope TEXT NOT NULL CHECK (length(scope) BETWEEN 1 AND 64),
    state TEXT NOT NULL CHECK (state IN ('active', 'decrypt_only', 'retired', 'destroyed')),
    messages INTEGER NOT NULL CHECK (messages >= 0),
    bytes INTEGER NOT NULL CHECK (bytes >= 0),
    created_at TEXT NOT NULL,
    changed_at TEXT NOT NULL,
    destroy_after TEXT,
    public_key BLOB NOT NULL CHECK (length(public_key) = 1216)
) STRICT;

CREATE UNIQUE INDEX one_active_dek ON deks (scope) WHERE state = 'active';
-- The ordinal ends every index, so a page is found in its place, never by scanning.
CREATE INDEX deks_of_scope ON deks (scope);
CREATE INDEX deks_in_state ON deks (state);
CREATE INDEX deks_of_scope_in_state ON deks (scope, state);

-- Boxes lie apart, so that marking a wrapping as verified does not write its box once more.
CREATE TABLE boxes (
    id INTEGER PRIMARY KEY,
    sealed BLOB NOT NULL CHECK (length(sealed) BETWEEN 1 AND 65536)
) STRICT;

CREATE TABLE wrappings (
    kek INTEGER NOT NULL REFERENCES keks (id),
    dek INTEGER NOT NULL REFERENCES deks (ordinal),
    box INTEGER NOT NULL,
    verified_at TEXT,
    PRIMARY KEY (kek, dek)
) STRICT, WITHOUT ROWID;

CREATE INDEX unverified_wrappings ON wrappings (kek, dek) WHERE verified_at IS NULL;
