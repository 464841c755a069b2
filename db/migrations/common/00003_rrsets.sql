-- +goose Up

-- rrsets: the DNS records (DS, DNSKEY, NSEC and NSEC3 sets with their signatures) that the proofs in the reports name by their
-- digests, each stored once, whoever saw it and however often. octets have the form of dnssec.Sets; sha256 is theirs.
CREATE TABLE rrsets (
    sha256      TEXT NOT NULL PRIMARY KEY CHECK (length(sha256) = 64),
    octets      BYTEA NOT NULL,
    recorded_at TEXT NOT NULL CHECK (recorded_at LIKE '____-__-__T__:__:__._________Z')
);
