#!/usr/bin/python3
"""Holds the vectors of docs/perspective-protocol.md to that page: a second implementation of what a perspective and a gate do.

It shares no code with mpic/perspective. It needs cryptography (Debian: python3-cryptography).

    protocol.py DIRECTORY

It makes each digest and each signature anew, verifies each reply that is to be taken, and must come to the same code for each that is
to be rejected and for each probe that is to be refused for its form. What a perspective refuses in a request itself (names, tokens,
methods) is not here: of those probes the form must be right. It prints a line for each vector on which there is no agreement, and
last the numbers. Exit status: 0 all agree, 1 some do not.
"""
import sys

sys.dont_write_bytecode = True

import base64
import binascii
import hashlib
import json
import os
import re
from datetime import datetime, timedelta, timezone

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils

NOW = datetime(2026, 12, 20, 12, tzinfo=timezone.utc)
MOST = 4 << 20
OUTCOMES = ("pass", "fail", "error", "not-checked")
STATUSES = ("secure", "insecure", "bogus", "failure")

# The members of each object, in their order. "?" marks those that are left out where they have no value.
PROBE = ["attempt", "nonce", "deadline", "request", "caa_lookup_failure?", "caa_alone?", "dcv_alone?"]
REQUEST = ["identifier", "method?", "token", "key_authorization", "key_authorization_digest?", "token_created?", "account_uri", "issuers",
           "certificate_type?"]
KINDS = {"issuers": list, "caa_alone": bool, "dcv_alone": bool, "request": dict}
WORDS = {"method": ("http-01", "dns-01", "tls-alpn-01"), "certificate_type": ("s-mime",), "caa_lookup_failure": ("permit-when-proven",)}

TIMES = {"started", "finished"}
PROBLEM = {"code", "detail", "rules", "field", "name", "type", "url", "address"}
REPORT = {"perspective", "software", "attempt", "nonce", "digest", "dcv", "caa", "resolver", "stages", "zones"} | TIMES
DCV = {"outcome", "problem", "queried", "observed", "lookups", "fetches", "handshakes"} | TIMES
CAA = {"outcome", "problem", "name", "found", "records", "permits", "ttl", "fresh_until", "lookups", "failures"} | TIMES
FETCH = {"url", "address", "considered", "status", "location", "content_type", "bytes", "body", "certificate", "ms", "error"}
HANDSHAKE = {"address", "considered", "server_name", "version", "protocol", "certificates", "names", "ms", "error"}
LOOKUP = {"name", "type", "status", "rcode", "answers", "ttl", "why", "code", "ede", "upstream", "queries", "chain", "proof", "after",
          "took"} | TIMES
QUERY = {"after", "at", "server", "transport", "question", "rcode", "ms", "error", "cookie", "query", "response"}
STAGE = {"stage", "zone", "name", "records", "query", "at"}
ZONE = {"zone", "ds", "dnskey", "algorithm", "until", "result", "why"}
RESOLVER = {"mode", "anchors", "algorithms", "slack", "limits", "timeout", "cache_cap", "qname_minimisation"}


class Rejected(Exception):
    """A code, and why."""

    def __init__(self, code, why):
        super().__init__(f"{code}: {why}")
        self.code = code


def garbage(why):
    return Rejected("perspective.garbage", why)


def unique(pairs):
    out = {}
    for name, value in pairs:
        if name in out:
            raise ValueError(f"{name} stands twice")
        out[name] = value
    return out


def strict(text):
    """Reads one JSON object, in which no member stands twice or is named by escapes, and nothing behind it."""
    text = text.decode() if isinstance(text, bytes) else text
    value = json.loads(text, object_pairs_hook=unique)
    if not isinstance(value, dict):
        raise ValueError("it is no object")
    for name, colon in re.findall(r'"((?:[^"\\]|\\.)*)"(\s*:)?', text):  # in JSON, a quotation mark begins or ends a string
        if colon and "\\" in name:
            raise ValueError("a name with an escape")
    return value


def b64(text):
    """Decodes base64url without padding, of which each text has one form."""
    out = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)) if re.fullmatch("[A-Za-z0-9_-]*", text) else None
    if out is None or b64text(out) != text:
        raise ValueError("it is not base64url")
    return out


def b64text(octets):
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def jsontext(value):
    """The canonical text of a value: no white space, and the escapes that the page lists."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    for c in "<>&\u2028\u2029":
        text = text.replace(c, f"\\u{ord(c):04x}")
    return text


def canonical(value, members):
    """The canonical text of a probe: the members in order, those without value left out."""
    parts = []
    for m in members:
        name = m.rstrip("?")
        v = value.get(name)
        if m.endswith("?") and (not v or v == "tls-server"):
            continue
        parts.append(jsontext(name) + ":" + (canonical(v, REQUEST) if name == "request" else jsontext(v)))
    return "{" + ",".join(parts) + "}"


def moment(text):
    m = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", text)
    if not m:
        raise ValueError(f"{text} is no time")
    at = datetime.fromisoformat(m[1] + m[3].replace("Z", "+00:00"))
    return at + timedelta(microseconds=int(float("0" + (m[2] or ".0")) * 1000000))


def refusal(body):
    """The code and field with which a perspective refuses a probe for its form; None where the form is right."""
    try:
        probe = strict(body)
        for value, members in ((probe, PROBE), (probe.get("request", {}), REQUEST)):
            known = [m.rstrip("?") for m in members]
            for name, v in value.items():
                kind = KINDS.get(name, str)
                if name not in known or not isinstance(v, kind):
                    raise ValueError(f"{name} is unknown, or of another kind")
                if name in WORDS and v not in WORDS[name] and (name, v) != ("certificate_type", "tls-server"):
                    raise ValueError(f"{v} is no {name}")
        deadline = moment(probe.get("deadline", "0001-01-01T00:00:00Z"))
    except ValueError:
        return "request.malformed", ""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}", probe.get("attempt", "")):
        return "request.attempt", "attempt"
    if not re.fullmatch("[0-9a-f]{32}", probe.get("nonce", "")):
        return "request.nonce", "nonce"
    if not NOW < deadline <= NOW + timedelta(minutes=10):
        return "request.deadline", "deadline"
    if canonical(probe, PROBE) != body:
        return "request.malformed", ""
    return None


def thumbprint(jwk):
    """RFC 7638: the required members alone, in the order of their names."""
    members = ("crv", "kty", "x") if jwk["kty"] == "OKP" else ("crv", "kty", "x", "y")
    return b64text(hashlib.sha256(jsontext({m: jwk[m] for m in members}).encode()).digest())


def header_of(encoded):
    try:
        header = strict(b64(encoded))
        if set(header) - {"alg", "jwk", "kid", "typ"}:
            raise ValueError("unknown members")
    except (ValueError, binascii.Error) as e:
        raise garbage(f"the header: {e}")
    if header.get("typ") != "quorate-report+jws":
        raise garbage("typ")
    if header.get("alg") not in ("EdDSA", "ES256"):
        raise Rejected("perspective.algorithm", "alg")
    jwk = header.get("jwk")
    if not isinstance(jwk, dict):
        raise garbage("no key")
    if (jwk.get("kty"), jwk.get("crv")) != {"EdDSA": ("OKP", "Ed25519"), "ES256": ("EC", "P-256")}[header["alg"]]:
        raise Rejected("perspective.algorithm", "the key is of another kind")
    if header.get("kid") != thumbprint(jwk):
        raise garbage("kid")
    return header


def check_signature(jwk, message, signature):
    if len(signature) != 64:
        raise InvalidSignature
    if jwk["kty"] == "OKP":
        ed25519.Ed25519PublicKey.from_public_bytes(b64(jwk["x"])).verify(signature, message)
        return
    x, y, r, s = (int.from_bytes(o, "big") for o in (b64(jwk["x"]), b64(jwk["y"]), signature[:32], signature[32:]))
    key = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    key.verify(utils.encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))


def verify(body, probe, pin):
    """Takes an answer as a gate does, and gives the report's text; or raises Rejected."""
    if len(body) > MOST:
        raise Rejected("perspective.too-large", "the answer")
    try:
        reply = strict(body)
        if set(reply) - {"report", "sets"}:
            raise ValueError("unknown members")
        parts = reply.get("report", "").split(".")
        if len(parts) != 3:
            raise ValueError("no compact JWS")
    except ValueError as e:
        raise garbage(e)
    header = header_of(parts[0])
    try:
        payload, signature = b64(parts[1]), b64(parts[2])
    except (ValueError, binascii.Error) as e:
        raise garbage(e)
    try:
        check_signature(header["jwk"], f"{parts[0]}.{parts[1]}".encode(), signature)
    except (ValueError, InvalidSignature):
        raise Rejected("perspective.signature", "it does not hold")
    if header["kid"] != pin:
        raise Rejected("perspective.key", "it is another's")
    try:
        report = strict(payload)
        shape(report)
    except (ValueError, IndexError, KeyError, TypeError, AttributeError) as e:
        raise garbage(f"the report: {e}")
    asked = json.loads(probe["body"])
    for member, want in (("attempt", asked["attempt"]), ("nonce", asked["nonce"]), ("digest", probe["digest"])):
        if report[member] != want:
            raise Rejected("perspective.replay", member)
    needs = {s["records"] for s in used_stages(report) if "records" in s}
    sums = [hashlib.sha256(base64.b64decode(o)).hexdigest() for o in reply.get("sets", [])]
    if sorted(sums) != sorted(needs):
        raise Rejected("perspective.evidence", "sets")
    return payload.decode()


def lookups(report):
    for l in report["dcv"].get("lookups", []) + report["caa"].get("lookups", []):
        yield l
    for f in report["caa"].get("failures", []):
        only(f, {"name", "retry", "ds", "control"})
        yield from (f["retry"], f["ds"], f["control"])


def used_stages(report):
    for l in lookups(report):
        for place in l.get("proof", []):
            yield report["stages"][place]


def only(value, members):
    if not isinstance(value, dict) or set(value) - members:
        raise ValueError(f"unknown members {set(value) - members}")


def shape(report):
    """Refuses unknown members, outcomes and statuses that are missing or none, and places that lead nowhere."""
    only(report, REPORT)
    for finding, members in ((report["dcv"], DCV), (report["caa"], CAA)):
        only(finding, members)
        if finding["outcome"] not in OUTCOMES:
            raise ValueError("an outcome")
        only(finding.get("problem", {}), PROBLEM)
    only(report["resolver"], RESOLVER)
    for values, members in ((report["dcv"].get("fetches", []), FETCH), (report["dcv"].get("handshakes", []), HANDSHAKE),
                            (report.get("stages", []), STAGE), (report.get("zones", []), ZONE)):
        for v in values:
            only(v, members)
    for l in lookups(report):
        only(l, LOOKUP)
        if l["status"] not in STATUSES:
            raise ValueError("a status")
        for q in l["queries"] or []:
            only(q, QUERY)
        for place, among in [(p, report.get("zones", [])) for p in l["chain"] or []] + [(p, report["stages"]) for p in l.get("proof", [])]:
            if not 0 <= place < len(among):
                raise ValueError("a place")


def sign(key, payload):
    """Makes the JWS of a report anew, by the Ed25519 key given."""
    header = '{"alg":"EdDSA","jwk":' + jsontext(key["jwk"]) + ',"kid":' + jsontext(key["thumbprint"]) + ',"typ":"quorate-report+jws"}'
    text = b64text(header.encode()) + "." + b64text(payload.encode())
    private = ed25519.Ed25519PrivateKey.from_private_bytes(bytes.fromhex(key["private"]))
    return text + "." + b64text(private.sign(text.encode()))


class Run:
    def __init__(self, directory):
        self.counts, self.wrong = {}, 0
        for name in ("keys", "probes", "replies", "refusals", "rejected"):
            with open(os.path.join(directory, name + ".json"), encoding="utf-8") as f:
                setattr(self, name, json.load(f))

    def say(self, what, name, agrees, detail=""):
        self.counts[what] = self.counts.get(what, 0) + 1
        if not agrees:
            self.wrong += 1
            print(f"{what}: {name}: {detail}")

    def run(self):
        certificate = x509.load_pem_x509_certificate(self.keys["certificate"].encode())
        spki = certificate.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.say("keys", "certificate", hashlib.sha256(spki).hexdigest() == self.keys["tls_key"])
        for name, key in self.keys["signing"].items():
            self.say("keys", name, thumbprint(key["jwk"]) == key["thumbprint"])
        for p in self.probes:
            self.say("probes", p["name"], hashlib.sha256(p["body"].encode()).hexdigest() == p["digest"] and refusal(p["body"]) is None
                     and canonical(json.loads(p["body"]), PROBE) == p["body"])
        probes = {p["name"]: p for p in self.probes}
        for r in self.replies:
            self.reply(r, probes[r["probe"]])
        for r in self.refusals:
            got, admits = refusal(r["body"]), r["code"] not in ("request.malformed", "request.attempt", "request.nonce", "request.deadline")
            want = None if admits else (r["code"], r.get("field", ""))
            self.say("refusals", r["name"], got == want, f"{got}, and not {want}")
        for r in self.rejected:
            try:
                verify(r["body"], probes[r["probe"]], self.keys["signing"][r["key"]]["thumbprint"])
                got = "taken"
            except Rejected as e:
                got = e.code
            self.say("rejected", r["name"], got == r["code"], f"{got}, and not {r['code']}")
        print(", ".join(f"{n} {what}" for what, n in self.counts.items()) + f": {self.wrong} without agreement")
        return 1 if self.wrong else 0

    def reply(self, r, probe):
        key = self.keys["signing"][r["key"]]
        try:
            self.say("replies", r["name"], verify(r["body"], probe, key["thumbprint"]) == r["payload"], "another report")
        except Rejected as e:
            self.say("replies", r["name"], False, e)
        if key["jwk"]["kty"] == "OKP":
            sets = json.loads(r["body"])["sets"]
            made = jsontext({"report": sign(key, r["payload"]), "sets": sets})
            self.say("signatures", r["name"], made == r["body"], "other octets")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(Run(sys.argv[1]).run())
