-- +goose Up

-- The records of attempts, for SQLite and Postgres alike: only types and expressions that mean the same on both.
--
-- A record is two documents and what lies between them: the attempt with its roster, written before the first packet,
-- and the decision, which names the digest of the first document and of each report. Columns are copies to query by;
-- the bytes in "document" are the record. Times are RFC 3339 in UTC with nine decimals, so that they sort as text
-- (REC-03). Nothing here is ever changed or removed; the guards of each engine see to that (REC-06).

-- attempts: one row per attempt, before its first packet. number is the gapless sequence (F4).
CREATE TABLE attempts (
    number      BIGINT NOT NULL PRIMARY KEY CHECK (number >= 1),
    id          TEXT NOT NULL UNIQUE CHECK (id <> ''),
    kind        TEXT NOT NULL CHECK (kind IN ('issuance', 'dry-run')),
    started_at  TEXT NOT NULL CHECK (started_at LIKE '____-__-__T__:__:__._________Z'),
    caller      TEXT NOT NULL,
    software    TEXT NOT NULL,
    identifier  TEXT NOT NULL,
    fqdn        TEXT NOT NULL,
    wildcard    SMALLINT NOT NULL CHECK (wildcard IN (0, 1)),
    method      TEXT NOT NULL CHECK (method <> ''),
    section     TEXT NOT NULL,
    account_uri TEXT NOT NULL,
    document    BYTEA NOT NULL,
    sha256      TEXT NOT NULL CHECK (length(sha256) = 64),
    recorded_at TEXT NOT NULL CHECK (recorded_at LIKE '____-__-__T__:__:__._________Z'),
    UNIQUE (number, kind, identifier, account_uri, method)
);
CREATE INDEX attempts_identifier ON attempts (identifier, number);
CREATE INDEX attempts_fqdn ON attempts (fqdn, number);
CREATE INDEX attempts_account ON attempts (account_uri, number);
CREATE INDEX attempts_started ON attempts (started_at);

-- perspectives: one pending row per perspective, before the first packet (F3). The role is a field, never a guess from
-- the order of rows (F2).
CREATE TABLE perspectives (
    attempt            BIGINT NOT NULL REFERENCES attempts (number),
    name               TEXT NOT NULL CHECK (name <> ''),
    role               TEXT NOT NULL CHECK (role IN ('primary', 'remote')),
    position           SMALLINT NOT NULL CHECK ((position = 0) = (role = 'primary')),
    region             TEXT NOT NULL,
    latitude           DOUBLE PRECISION NOT NULL,
    longitude          DOUBLE PRECISION NOT NULL,
    resolver_region    TEXT NOT NULL,
    resolver_latitude  DOUBLE PRECISION NOT NULL,
    resolver_longitude DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (attempt, name),
    UNIQUE (attempt, position),
    UNIQUE (attempt, name, role)
);

-- reports: the closing row of each perspective (REC-01). dcv and caa are what the decision made of the report, and
-- 'none' where it was not judged; what the perspective itself claimed is in the document, with its reply as it was
-- received.
CREATE TABLE reports (
    attempt     BIGINT NOT NULL,
    perspective TEXT NOT NULL,
    role        TEXT NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('answered', 'timed-out', 'unreachable', 'rejected', 'outstanding',
                                               'not-asked', 'missing')),
    dcv         TEXT NOT NULL CHECK (dcv IN ('pass', 'fail', 'error', 'none')),
    caa         TEXT NOT NULL CHECK (caa IN ('pass', 'fail', 'error', 'none')),
    dcv_code    TEXT NOT NULL CHECK (dcv <> 'pass' OR dcv_code = ''),
    caa_code    TEXT NOT NULL CHECK (caa <> 'pass' OR caa_code = ''),
    asked_at    TEXT CHECK (asked_at LIKE '____-__-__T__:__:__._________Z'),
    closed_at   TEXT NOT NULL CHECK (closed_at LIKE '____-__-__T__:__:__._________Z'),
    document    BYTEA NOT NULL,
    sha256      TEXT NOT NULL CHECK (length(sha256) = 64),
    PRIMARY KEY (attempt, perspective),
    UNIQUE (attempt, perspective, role, dcv, caa),
    FOREIGN KEY (attempt, perspective, role) REFERENCES perspectives (attempt, name, role),
    CHECK (state = 'answered' OR (dcv <> 'pass' AND caa <> 'pass'))
);

-- decisions: MPIC-12 in SQL. A granted one needs the primary's own closing row with both passes, and rows that make up
-- each quorum: the guards count them.
CREATE TABLE decisions (
    attempt          BIGINT NOT NULL PRIMARY KEY,
    outcome          TEXT NOT NULL CHECK (outcome IN ('granted', 'refused')),
    kind             TEXT NOT NULL,
    identifier       TEXT NOT NULL,
    account_uri      TEXT NOT NULL,
    method           TEXT NOT NULL,
    policy           TEXT NOT NULL,
    min_remotes      SMALLINT NOT NULL CHECK (min_remotes >= 0),
    min_regions      SMALLINT NOT NULL CHECK (min_regions >= 0),
    primary_name     TEXT NOT NULL,
    primary_role     TEXT NOT NULL CHECK (primary_role = 'primary'),
    primary_dcv      TEXT NOT NULL,
    primary_caa      TEXT NOT NULL,
    dcv_corroborated SMALLINT NOT NULL CHECK (dcv_corroborated >= 0 AND dcv_corroborated <= dcv_attempted),
    dcv_attempted    SMALLINT NOT NULL,
    dcv_allowed      SMALLINT NOT NULL CHECK (dcv_allowed >= 0),
    caa_corroborated SMALLINT NOT NULL CHECK (caa_corroborated >= 0 AND caa_corroborated <= caa_attempted),
    caa_attempted    SMALLINT NOT NULL,
    caa_allowed      SMALLINT NOT NULL CHECK (caa_allowed >= 0),
    dcv_quorum       TEXT NOT NULL CHECK (dcv_quorum = dcv_corroborated || '/' || dcv_attempted), -- REC-02
    caa_quorum       TEXT NOT NULL CHECK (caa_quorum = caa_corroborated || '/' || caa_attempted),
    reasons          TEXT NOT NULL CHECK ((reasons = '') = (outcome = 'granted')),
    decided_at       TEXT NOT NULL CHECK (decided_at LIKE '____-__-__T__:__:__._________Z'),
    document         BYTEA NOT NULL,
    sha256           TEXT NOT NULL CHECK (length(sha256) = 64),
    UNIQUE (attempt, outcome, kind, identifier, account_uri, method),
    FOREIGN KEY (attempt, kind, identifier, account_uri, method)
        REFERENCES attempts (number, kind, identifier, account_uri, method),
    FOREIGN KEY (attempt, primary_name, primary_role, primary_dcv, primary_caa)
        REFERENCES reports (attempt, perspective, role, dcv, caa),
    CONSTRAINT granted_needs_primary CHECK (outcome = 'refused' OR (primary_dcv = 'pass' AND primary_caa = 'pass')),
    -- The quorum table of BR 3.2.2.9 (MPIC-02, MPIC-03). The policy of the day can ask for more, never for less.
    CONSTRAINT granted_needs_quorum CHECK (outcome = 'refused' OR (
        min_remotes >= 2 AND min_regions >= 1
        AND dcv_attempted >= min_remotes AND caa_attempted >= min_remotes
        AND dcv_allowed <= CASE WHEN dcv_attempted >= 6 THEN 2 ELSE 1 END
        AND caa_allowed <= CASE WHEN caa_attempted >= 6 THEN 2 ELSE 1 END
        AND dcv_corroborated + dcv_allowed >= dcv_attempted
        AND caa_corroborated + caa_allowed >= caa_attempted))
);

-- authorizations: only ever beside a granted decision of the same attempt, for the same name, account and method.
CREATE TABLE authorizations (
    attempt     BIGINT NOT NULL PRIMARY KEY,
    outcome     TEXT NOT NULL CHECK (outcome = 'granted'),
    kind        TEXT NOT NULL CHECK (kind = 'issuance'),
    identifier  TEXT NOT NULL,
    account_uri TEXT NOT NULL,
    method      TEXT NOT NULL,
    granted_at  TEXT NOT NULL CHECK (granted_at LIKE '____-__-__T__:__:__._________Z'),
    FOREIGN KEY (attempt, outcome, kind, identifier, account_uri, method)
        REFERENCES decisions (attempt, outcome, kind, identifier, account_uri, method)
);
CREATE INDEX authorizations_identifier ON authorizations (identifier, account_uri);

-- late_reports: a reply that came after the decision. It changes nothing and is kept.
CREATE TABLE late_reports (
    attempt     BIGINT NOT NULL REFERENCES decisions (attempt),
    perspective TEXT NOT NULL,
    role        TEXT NOT NULL CHECK (role = 'remote'),
    state       TEXT NOT NULL,
    recorded_at TEXT NOT NULL CHECK (recorded_at LIKE '____-__-__T__:__:__._________Z'),
    document    BYTEA NOT NULL,
    sha256      TEXT NOT NULL CHECK (length(sha256) = 64),
    PRIMARY KEY (attempt, perspective),
    FOREIGN KEY (attempt, perspective, role) REFERENCES perspectives (attempt, name, role)
);
