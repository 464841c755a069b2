#!/bin/sh
# Runs once, in a new database server, as its superuser (docker-library/postgres, /docker-entrypoint-initdb.d). The groups are
# those of `quorate records migrate`, which gives them their rights; they are made here so that the records' owner need not be
# able to make roles. An auditor is added later: CREATE USER name PASSWORD '...' IN ROLE quorate_auditor.
set -eu
cd /run/passwords
psql --no-psqlrc --set ON_ERROR_STOP=1 --username postgres --dbname postgres <<'SQL'
\set owner `cat owner-password`
\set gate `cat gate-password`
CREATE ROLE quorate_gate;
CREATE ROLE quorate_auditor;
CREATE ROLE quorate_retention;
CREATE USER quorate PASSWORD :'owner';
CREATE USER gate PASSWORD :'gate' IN ROLE quorate_gate;
CREATE DATABASE quorate OWNER quorate;
REVOKE ALL ON DATABASE quorate FROM PUBLIC;
GRANT CONNECT ON DATABASE quorate TO quorate_gate, quorate_auditor, quorate_retention;
SQL
