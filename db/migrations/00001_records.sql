-- +goose Up

-- The records of attempts and of what was issued upon them, for SQLite and Postgres alike: only types and expressions that
-- mean the same on both. On SQLite a key of one number is the table's row number, and the tables marked WITHOUT ROWID have none, so
-- that neither needs a second tree (db/migrate.go).
--
-- A foreign key says that the row is there; that it says the same in other columns is the guards' to find out (db/guards.go), whose
-- conditions name all of these columns: no second index on each table is needed for it.
--
-- The bytes in a column "document" are the record; "sha256" is their digest, and the line of the log with the number "leaf"
-- holds it. All other columns are copies to query by, which `quorate audit verify` makes again from the documents. Times are
-- RFC 3339 in UTC with nine decimals, so that they sort as text (REC-03). Nothing here is ever changed, and nothing removed
-- before its time; the guards see to that (REC-06). The two exceptions, log_head and gates, say how things stand and are no
-- records.

-- log: the Merkle log, one line for each document, in the order of their recording. hashes are those of the subtrees that the
-- line completes, 32 bytes each, its own first (docs/log.md).
CREATE TABLE log (
    leaf        BIGINT NOT NULL PRIMARY KEY CHECK (leaf >= 0),
    kind        TEXT NOT NULL CHECK (kind IN ('intent', 'decision', 'late-reply', 'permit', 'certificate', 'notice', 'removal')),
    subject     BIGINT NOT NULL CHECK (subject >= 1),
    recorded_at TEXT NOT NULL CHECK (recorded_at LIKE '____-__-__T__:__:__._________Z'),
    sha256      TEXT NOT NULL CHECK (length(sha256) = 64),
    hashes      BYTEA NOT NULL
);

-- log_head: where the log ends. Whoever writes holds this row until the commit, so that lines and numbers have no gap however
-- many gates there are (F4). The counters are the highest numbers in use.
CREATE TABLE log_head (
    id           SMALLINT NOT NULL PRIMARY KEY CHECK (id = 1),
    size         BIGINT NOT NULL CHECK (size >= 0),
    attempts     BIGINT NOT NULL CHECK (attempts >= 0),
    permits      BIGINT NOT NULL CHECK (permits >= 0),
    certificates BIGINT NOT NULL CHECK (certificates >= 0),
    removals     BIGINT NOT NULL CHECK (removals >= 0),
    recorded_at  TEXT NOT NULL
);
INSERT INTO log_head (id, size, attempts, permits, certificates, removals, recorded_at) VALUES (1, 0, 0, 0, 0, 0, '');

-- checkpoints: what was signed of the log, and published.
CREATE TABLE checkpoints (
    size BIGINT NOT NULL CHECK (size >= 0),
    note BYTEA NOT NULL,
    PRIMARY KEY (size)
);

-- gates: the leases of running gates. The open attempts of a gate whose lease is over are closed by another one, or by its
-- successor.
CREATE TABLE gates (
    id          TEXT NOT NULL PRIMARY KEY CHECK (id <> ''),
    software    TEXT NOT NULL,
    host        TEXT NOT NULL,
    started_at  TEXT NOT NULL CHECK (started_at LIKE '____-__-__T__:__:__._________Z'),
    lease_until TEXT NOT NULL CHECK (lease_until LIKE '____-__-__T__:__:__._________Z'),
    settled     SMALLINT NOT NULL CHECK (settled IN (0, 1))
);

-- attempts: one row per attempt, before its first packet. number is the gapless sequence (F4). The document has attempt and
-- roster; secrets are the tokens that were taken out of it, and may be missing.
CREATE TABLE attempts (
    number      BIGINT NOT NULL PRIMARY KEY CHECK (number >= 1),
    leaf        BIGINT NOT NULL UNIQUE REFERENCES log (leaf) DEFERRABLE INITIALLY DEFERRED,
    id          TEXT NOT NULL UNIQUE CHECK (id <> ''),
    gate        TEXT NOT NULL REFERENCES gates (id),
    kind        TEXT NOT NULL CHECK (kind IN ('issuance', 'dry-run', 'caa-recheck', 'dcv', 'caa')),
    shadow      SMALLINT NOT NULL CHECK (shadow = 0 OR (shadow = 1 AND kind IN ('dcv', 'caa'))),
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
    secrets     BYTEA,
    sha256      TEXT NOT NULL CHECK (length(sha256) = 64)
);
CREATE INDEX attempts_identifier ON attempts (identifier, number);
CREATE INDEX attempts_fqdn ON attempts (fqdn, number);
CREATE INDEX attempts_account ON attempts (account_uri, number);
CREATE INDEX attempts_caller ON attempts (caller, number);
CREATE INDEX attempts_gate ON attempts (gate, number);
-- What is asked of all attempts is in an index, because their rows are long.
CREATE INDEX attempts_started ON attempts (started_at, number, kind, method, software);

-- perspectives: one pending row per perspective, before the first packet (F3). The role is a field, never a guess from
-- the order of rows (F2).
CREATE TABLE perspectives (
    attempt  BIGINT NOT NULL REFERENCES attempts (number),
    name     TEXT NOT NULL CHECK (name <> ''),
    role     TEXT NOT NULL CHECK (role IN ('primary', 'remote')),
    position SMALLINT NOT NULL CHECK ((position = 0) = (role = 'primary')),
    region   TEXT NOT NULL,
    PRIMARY KEY (attempt, name),
    UNIQUE (attempt, position)
) /* WITHOUT ROWID */;

-- reports: the closing row of each perspective (REC-01). dcv and caa are what the decision made of the report, and
-- 'none' where it was not judged; what the perspective itself claimed is in the decision's document, with its reply as it
-- was received.
CREATE TABLE reports (
    attempt     BIGINT NOT NULL,
    perspective TEXT NOT NULL,
    role        TEXT NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('answered', 'timed-out', 'unreachable', 'rejected', 'outstanding',
                                               'not-asked', 'abandoned', 'missing')),
    dcv         TEXT NOT NULL CHECK (dcv IN ('pass', 'fail', 'error', 'not-checked', 'none')),
    caa         TEXT NOT NULL CHECK (caa IN ('pass', 'fail', 'error', 'not-checked', 'none')),
    dcv_code    TEXT NOT NULL CHECK (dcv <> 'pass' OR dcv_code = ''),
    caa_code    TEXT NOT NULL CHECK (caa <> 'pass' OR caa_code = ''),
    asked_at    TEXT CHECK (asked_at LIKE '____-__-__T__:__:__._________Z'),
    closed_at   TEXT NOT NULL CHECK (closed_at LIKE '____-__-__T__:__:__._________Z'),
    PRIMARY KEY (attempt, perspective),
    FOREIGN KEY (attempt, perspective) REFERENCES perspectives (attempt, name),
    CHECK (state = 'answered' OR (dcv <> 'pass' AND caa <> 'pass'))
) /* WITHOUT ROWID */;

-- decisions: MPIC-12 in SQL. A granted one needs the primary's own closing row with both passes, and rows that make up
-- each quorum: the guards count them. A recheck of CAA has no DCV, and nothing but permits rests on it.
CREATE TABLE decisions (
    attempt          BIGINT NOT NULL PRIMARY KEY REFERENCES attempts (number),
    leaf             BIGINT NOT NULL UNIQUE REFERENCES log (leaf) DEFERRABLE INITIALLY DEFERRED,
    gate             TEXT NOT NULL REFERENCES gates (id),
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
    caa_excused      SMALLINT NOT NULL CHECK (caa_excused >= 0),
    decided_at       TEXT NOT NULL CHECK (decided_at LIKE '____-__-__T__:__:__._________Z'),
    document         BYTEA NOT NULL,
    secrets          BYTEA,
    sha256           TEXT NOT NULL CHECK (length(sha256) = 64),
    FOREIGN KEY (attempt, primary_name) REFERENCES reports (attempt, perspective),
    CONSTRAINT granted_needs_primary CHECK (outcome = 'refused' OR (
        (primary_caa = 'pass' OR (kind = 'dcv' AND primary_caa = 'not-checked'))
        AND (primary_dcv = 'pass' OR (kind IN ('caa-recheck', 'caa') AND primary_dcv = 'not-checked')))),
    -- The quorum table of BR 3.2.2.9 (MPIC-02, MPIC-03). The policy of the day can ask for more, never for less.
    CONSTRAINT granted_needs_policy CHECK (outcome = 'refused' OR (min_remotes >= 2 AND min_regions >= 1)),
    CONSTRAINT granted_needs_caa_quorum CHECK (outcome = 'refused' OR (kind = 'dcv' AND caa_attempted = 0) OR (
        kind <> 'dcv' AND caa_attempted >= min_remotes
        AND caa_allowed <= CASE WHEN caa_attempted >= 6 THEN 2 ELSE 1 END
        AND caa_corroborated + caa_allowed >= caa_attempted)),
    CONSTRAINT granted_needs_dcv_quorum CHECK (outcome = 'refused'
        OR (kind IN ('caa-recheck', 'caa') AND dcv_attempted = 0) OR (
        kind NOT IN ('caa-recheck', 'caa') AND dcv_attempted >= min_remotes
        AND dcv_allowed <= CASE WHEN dcv_attempted >= 6 THEN 2 ELSE 1 END
        AND dcv_corroborated + dcv_allowed >= dcv_attempted))
);

CREATE INDEX decisions_figures ON decisions (attempt, outcome, policy, dcv_quorum, caa_quorum, caa_excused);

-- authorizations: only ever beside a granted decision of the same attempt, for the same name, account and method.
CREATE TABLE authorizations (
    attempt        BIGINT NOT NULL PRIMARY KEY REFERENCES decisions (attempt),
    outcome        TEXT NOT NULL CHECK (outcome = 'granted'),
    kind           TEXT NOT NULL CHECK (kind = 'issuance'),
    identifier     TEXT NOT NULL,
    account_uri    TEXT NOT NULL,
    method         TEXT NOT NULL,
    granted_at     TEXT NOT NULL CHECK (granted_at LIKE '____-__-__T__:__:__._________Z')
);

-- reliances: what granted attempts may be relied upon for, for permits to find: of attempts for issuance, DCV and CAA; of rechecks,
-- CAA. facts is the JSON of mpic.Relied, which the decision's document gives again.
CREATE TABLE reliances (
    attempt         BIGINT NOT NULL PRIMARY KEY REFERENCES decisions (attempt),
    kind            TEXT NOT NULL CHECK (kind IN ('issuance', 'caa-recheck')),
    identifier      TEXT NOT NULL,
    account_uri     TEXT NOT NULL,
    method          TEXT NOT NULL,
    checked_at      TEXT NOT NULL CHECK (checked_at LIKE '____-__-__T__:__:__._________Z'),
    caa_fresh_until TEXT NOT NULL CHECK (caa_fresh_until LIKE '____-__-__T__:__:__._________Z'),
    reusable_until  TEXT CHECK (reusable_until LIKE '____-__-__T__:__:__._________Z'),
    facts           BYTEA NOT NULL
);
CREATE INDEX reliances_identifier ON reliances (identifier, account_uri, attempt);

-- late_reports: a reply that came after the decision. It changes nothing and is kept.
CREATE TABLE late_reports (
    attempt     BIGINT NOT NULL REFERENCES decisions (attempt),
    leaf        BIGINT NOT NULL UNIQUE REFERENCES log (leaf) DEFERRABLE INITIALLY DEFERRED,
    perspective TEXT NOT NULL,
    role        TEXT NOT NULL CHECK (role = 'remote'),
    state       TEXT NOT NULL,
    recorded_at TEXT NOT NULL CHECK (recorded_at LIKE '____-__-__T__:__:__._________Z'),
    document    BYTEA NOT NULL,
    secrets     BYTEA,
    sha256      TEXT NOT NULL CHECK (length(sha256) = 64),
    PRIMARY KEY (attempt, perspective),
    FOREIGN KEY (attempt, perspective) REFERENCES reports (attempt, perspective)
);

-- notices: the steps of reports of refused requests to those whom the CAA records name (CAA-09). 'begun' stands before the first packet,
-- so that nothing is sent twice; each report ends once. position is the iodef property's place in the relevant RRset.
CREATE TABLE notices (
    attempt     BIGINT NOT NULL REFERENCES decisions (attempt),
    leaf        BIGINT NOT NULL UNIQUE REFERENCES log (leaf) DEFERRABLE INITIALLY DEFERRED,
    position    BIGINT NOT NULL CHECK (position >= 0),
    stage       TEXT NOT NULL CHECK (stage IN ('begun', 'ended')),
    outcome     TEXT NOT NULL CHECK (outcome IN ('begun', 'delivered', 'refused', 'failed', 'dropped', 'unusable')),
    code        TEXT NOT NULL CHECK (code <> ''),
    recorded_at TEXT NOT NULL CHECK (recorded_at LIKE '____-__-__T__:__:__._________Z'),
    document    BYTEA NOT NULL,
    secrets     BYTEA,
    sha256      TEXT NOT NULL CHECK (length(sha256) = 64),
    CHECK ((stage = 'begun') = (outcome = 'begun')),
    PRIMARY KEY (attempt, position, stage)
);
CREATE INDEX notices_recorded ON notices (recorded_at, outcome);

-- rrsets: the DNS records (DS, DNSKEY, NSEC and NSEC3 sets with their signatures) that the proofs in the documents name by
-- their digests, each stored once, whoever saw it and however often. octets have the form of dnssec.Sets; sha256 is theirs.
CREATE TABLE rrsets (
    sha256 TEXT NOT NULL PRIMARY KEY CHECK (length(sha256) = 64),
    octets BYTEA NOT NULL
);

-- permits: what a certificate may be issued upon. A refused one is kept too.
CREATE TABLE permits (
    number      BIGINT NOT NULL PRIMARY KEY CHECK (number >= 1),
    leaf        BIGINT NOT NULL UNIQUE REFERENCES log (leaf) DEFERRABLE INITIALLY DEFERRED,
    id          TEXT NOT NULL UNIQUE CHECK (id <> ''),
    outcome     TEXT NOT NULL CHECK (outcome IN ('granted', 'refused')),
    caller      TEXT NOT NULL,
    account_uri TEXT NOT NULL,
    issued_at   TEXT NOT NULL CHECK (issued_at LIKE '____-__-__T__:__:__._________Z'),
    expires_at  TEXT CHECK (expires_at LIKE '____-__-__T__:__:__._________Z'),
    document    BYTEA NOT NULL,
    sha256      TEXT NOT NULL CHECK (length(sha256) = 64),
    CHECK ((outcome = 'granted') = (expires_at IS NOT NULL)),
    UNIQUE (number, outcome)
);
CREATE INDEX permits_account ON permits (account_uri, number);
CREATE INDEX permits_issued ON permits (issued_at, number, outcome);

-- permit_names: the names of a granted permit, each with its own evidence (D5): the authorization, and the attempt that
-- checked CAA.
CREATE TABLE permit_names (
    permit      BIGINT NOT NULL,
    outcome     TEXT NOT NULL CHECK (outcome = 'granted'),
    name        TEXT NOT NULL CHECK (name <> ''),
    attempt     BIGINT NOT NULL REFERENCES authorizations (attempt),
    caa_attempt BIGINT NOT NULL REFERENCES decisions (attempt),
    PRIMARY KEY (permit, name),
    FOREIGN KEY (permit, outcome) REFERENCES permits (number, outcome)
);
CREATE INDEX permit_names_name ON permit_names (name, permit);
CREATE INDEX permit_names_attempt ON permit_names (attempt);
CREATE INDEX permit_names_caa_attempt ON permit_names (caa_attempt);

-- certificates: linked to the permit that they rely upon; 'refused' is one that did not match its permit.
CREATE TABLE certificates (
    number      BIGINT NOT NULL PRIMARY KEY CHECK (number >= 1),
    leaf        BIGINT NOT NULL UNIQUE REFERENCES log (leaf) DEFERRABLE INITIALLY DEFERRED,
    permit      BIGINT NOT NULL REFERENCES permits (number),
    outcome     TEXT NOT NULL CHECK (outcome IN ('linked', 'refused')),
    fingerprint TEXT NOT NULL CHECK (length(fingerprint) = 64),
    serial      TEXT NOT NULL,
    issuer      TEXT NOT NULL,
    not_before  TEXT CHECK (not_before LIKE '____-__-__T__:__:__._________Z'), -- NULL where the certificate cannot be read
    not_after   TEXT CHECK (not_after LIKE '____-__-__T__:__:__._________Z'),
    linked_at   TEXT NOT NULL CHECK (linked_at LIKE '____-__-__T__:__:__._________Z'),
    document    BYTEA NOT NULL,
    sha256      TEXT NOT NULL CHECK (length(sha256) = 64),
    CHECK (outcome = 'refused' OR (not_before IS NOT NULL AND not_after IS NOT NULL)),
    UNIQUE (permit, fingerprint, outcome)
);
CREATE INDEX certificates_permit ON certificates (permit, number);
CREATE INDEX certificates_fingerprint ON certificates (fingerprint);
CREATE INDEX certificates_serial ON certificates (serial);
CREATE INDEX certificates_not_after ON certificates (not_after);
CREATE INDEX certificates_linked ON certificates (linked_at, number, outcome);

-- removals: segments of the log whose documents were exported and removed when their time was over (REC-04). The lines of the
-- log stay.
CREATE TABLE removals (
    number     BIGINT NOT NULL PRIMARY KEY CHECK (number >= 1),
    leaf       BIGINT NOT NULL UNIQUE REFERENCES log (leaf) DEFERRABLE INITIALLY DEFERRED,
    first_leaf BIGINT NOT NULL UNIQUE CHECK (first_leaf >= 0),
    past_leaf  BIGINT NOT NULL CHECK (past_leaf > first_leaf AND past_leaf <= leaf),
    due_at     TEXT NOT NULL CHECK (due_at LIKE '____-__-__T__:__:__._________Z'),
    removed_at TEXT NOT NULL CHECK (removed_at LIKE '____-__-__T__:__:__._________Z'),
    document   BYTEA NOT NULL,
    sha256     TEXT NOT NULL CHECK (length(sha256) = 64),
    CHECK (due_at <= removed_at)
);
