"""Reads DNS messages and kept records with dnspython, and checks signatures with cryptography (RFC 4034, RFC 4035 section 5.3)."""
import functools
import hashlib
from collections import namedtuple

import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.wire
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa, utils

NS, CNAME, SOA, DNAME, OPT, DS, RRSIG, NSEC, DNSKEY, NSEC3 = 2, 5, 6, 39, 41, 43, 46, 47, 48, 50
NOERROR, NXDOMAIN, YXDOMAIN = 0, 3, 6
DIGESTS = {1: hashlib.sha1, 2: hashlib.sha256, 4: hashlib.sha384}

RR = namedtuple("RR", "owner type cls ttl rdata")
Step = namedtuple("Step", "kind name type by tag algorithm digest", defaults=(None, None, 0, 0, 0))
Signature = namedtuple("Signature", "sig expanded ttl step")


class Broken(Exception):
    """The record does not hold together, whatever its status."""


class CannotCheck(Exception):
    """It would need an algorithm that is not to be had here."""


class Verdict(Exception):
    """What ends a stage without a usable result: bogus or failure."""

    def __init__(self, status, why):
        super().__init__(why)
        self.status = status


def bogus(why):
    return Verdict("bogus", why)


def failure(why):
    return Verdict("failure", why)


# Octets ---------------------------------------------------------------------------------------------------------------

def read_record(parser):
    owner = parser.get_name()
    rdtype, cls, ttl, length = parser.get_struct("!HHIH")
    with parser.restrict_to(length):
        if rdtype == OPT or cls != dns.rdataclass.IN:  # never judged
            return RR(owner, rdtype, cls, ttl, parser.get_remaining())
        return RR(owner, rdtype, cls, ttl, dns.rdata.from_wire_parser(cls, rdtype, parser))


class Message:
    def __init__(self, wire):
        parser = dns.wire.Parser(wire)
        self.id, self.flags, *counts = parser.get_struct("!HHHHHH")
        self.questions = [(parser.get_name(), *parser.get_struct("!HH")) for _ in range(counts[0])]
        self.answer, self.authority, self.additional = ([read_record(parser) for _ in range(n)] for n in counts[1:])
        if parser.remaining():
            raise dns.exception.FormError("octets after the last record")
        opts = [rr for rr in self.additional if rr.type == OPT]
        self.rcode = self.flags & 15 | (opts[-1].ttl >> 24 << 4 if opts else 0)
        self.cookie = edns_cookie(opts[-1].rdata) if opts else None


def edns_cookie(options):
    parser = dns.wire.Parser(options)
    cookie = None
    while parser.remaining():
        code, length = parser.get_struct("!HH")
        data = parser.get_bytes(length)
        if code == 10 and cookie is None:
            cookie = data
    return cookie


class RRset:
    """The records of one owner and type, and the signatures that claim to cover them."""

    def __init__(self, name, rdtype):
        self.name, self.type, self.rrs, self.sigs = name, rdtype, [], []

    def ttl(self):
        return min(rr.ttl for rr in self.rrs)


def group(records):
    sets = {}
    for rr in records:
        if rr.cls != dns.rdataclass.IN or rr.type == OPT:
            continue
        rdtype = int(rr.rdata.type_covered) if rr.type == RRSIG else rr.type
        owner = rr.owner.canonicalize()
        s = sets.setdefault((owner, rdtype), RRset(owner, rdtype))
        (s.sigs if rr.type == RRSIG else s.rrs).append(rr)
    return list(sets.values())


def find(sets, name, rdtype):
    return next((s for s in sets if s.type == rdtype and s.name == name and s.rrs), None)


@functools.lru_cache(maxsize=4096)
def read_set(octets):
    parser = dns.wire.Parser(octets)
    records = []
    while parser.remaining():
        records.append(read_record(parser))
    return in_canonical_order(group(records))


def in_canonical_order(sets):
    """What is judged from kept records is judged in this order (RFC 4034 section 6), whatever the order in the octets."""
    for s in sets:
        for rrs in s.rrs, s.sigs:
            rrs.sort(key=lambda rr: rr.rdata.to_digestable())
    return sorted(sets, key=lambda s: (s.name, s.type))


def labels(name):
    return len(name) - 1


def ancestor(name, n):
    return name.split(n + 1)[1]


def below(name, parent):
    return name != parent and name.is_subdomain(parent)


def wildcard_at(encloser):
    return dns.name.Name((b"*",) + encloser.labels)


def serial(a, b):
    """a - b in the arithmetic of RFC 1982."""
    return (a - b + 2**31) % 2**32 - 2**31


# Signatures -----------------------------------------------------------------------------------------------------------

@functools.lru_cache(maxsize=65536)
def public_key(algorithm, key):
    """The check of a key's signatures; None, or a ValueError, for a key that must not be used."""
    try:
        return read_key(algorithm, key)
    except UnsupportedAlgorithm as e:
        raise CannotCheck(f"signatures of algorithm {algorithm}: {e}") from e


def read_key(algorithm, key):
    if algorithm in (5, 7, 8, 10):
        return rsa_key(key, {5: hashes.SHA1, 7: hashes.SHA1, 8: hashes.SHA256, 10: hashes.SHA512}[algorithm]())
    if algorithm in (13, 14):
        curve, digest, size = (ec.SECP256R1(), hashes.SHA256(), 32) if algorithm == 13 else (ec.SECP384R1(), hashes.SHA384(), 48)
        if len(key) != 2 * size:
            return None
        point = ec.EllipticCurvePublicKey.from_encoded_point(curve, b"\x04" + key)

        def check(data, sig):
            if len(sig) != 2 * size:
                raise InvalidSignature
            der = utils.encode_dss_signature(int.from_bytes(sig[:size], "big"), int.from_bytes(sig[size:], "big"))
            point.verify(der, data, ec.ECDSA(digest))
        return check
    if algorithm in (15, 16):
        kind = ed25519.Ed25519PublicKey if algorithm == 15 else ed448.Ed448PublicKey
        edwards = kind.from_public_bytes(key)
        return lambda data, sig: edwards.verify(sig, data)
    raise CannotCheck(f"signatures of algorithm {algorithm}")


def rsa_key(key, digest):
    length, rest = key[0], key[1:]
    if length == 0:
        length, rest = int.from_bytes(key[1:3], "big"), key[3:]
    exponent, modulus = int.from_bytes(rest[:length], "big"), int.from_bytes(rest[length:], "big")
    if not (1 <= length <= 4 and len(rest) > length and 1024 <= modulus.bit_length() <= 4096):
        return None
    if exponent.bit_length() > 31 or exponent < 3 or exponent % 2 == 0:
        return None
    numbers = rsa.RSAPublicNumbers(exponent, modulus).public_key()
    return lambda data, sig: numbers.verify(sig, data, padding.PKCS1v15(), digest)


@functools.lru_cache(maxsize=65536)
def signed(algorithm, key, data, signature):
    try:
        public_key(algorithm, key)(data, signature)
        return True
    except (InvalidSignature, ValueError):
        return False


class Key:
    """A DNSKEY that may sign zone data."""

    def __init__(self, rdata):
        self.rdata, self.algorithm = rdata, int(rdata.algorithm)
        octets = enumerate(rdata.to_wire())
        total = sum(octet if i % 2 else octet << 8 for i, octet in octets)
        self.tag = total + (total >> 16) & 0xffff  # RFC 4034 appendix B

    def usable(self, algorithms):
        try:
            return self.algorithm in algorithms and public_key(self.algorithm, self.rdata.key) is not None
        except (ValueError, IndexError):
            return False


class Judge:
    """Judges the records of one stage at its time. Its budget of signatures is the stage's."""

    def __init__(self, at, slack, algorithms, limits):
        self.now, self.slack, self.algorithms, self.limits = at, slack, algorithms, limits
        self.spent = 0

    def verify(self, rrset, zone, keys):
        """Finds one signature by the zone that holds: RFC 4035 sections 5.3.1 to 5.3.3."""
        if not rrset.name.is_subdomain(zone):
            raise bogus(f"{rrset.name} lies outside of {zone}")
        tried, rdatas = 0, None
        for rr in rrset.sigs:
            if not self.counts(rrset, rr.rdata, zone):
                continue
            for key in keys:
                if key.tag != rr.rdata.key_tag or key.algorithm != rr.rdata.algorithm or not key.usable(self.algorithms):
                    continue
                tried += 1
                self.spent += 1
                if tried > self.limits["signatures_per_rrset"] or self.spent > self.limits["signatures"]:
                    raise failure(f"{rrset.name} needs too many signature checks")
                rdatas = rdatas or sorted({r.rdata.to_digestable() for r in rrset.rrs})
                if signed(key.algorithm, key.rdata.key, signed_data(rrset, rr.rdata, rdatas), rr.rdata.signature):
                    return self.accepted(rrset, rr.rdata, key)
        raise bogus(f"no signature by {zone} over {rrset.name} {rrset.type} holds")

    def counts(self, rrset, sig, zone):
        own = labels(rrset.name) - rrset.name.is_wild()
        return (sig.signer == zone and labels(zone) <= sig.labels <= own and serial(sig.expiration, sig.inception) >= 0
                and serial(self.now, sig.expiration) <= self.slack and serial(sig.inception, self.now) <= self.slack)

    def accepted(self, rrset, sig, key):
        expanded = sig.labels < labels(rrset.name) - rrset.name.is_wild()
        left = max(serial(sig.expiration, self.now), 0)
        step = Step("verify", rrset.name, rrset.type, sig.signer, key.tag, key.algorithm)
        return Signature(sig, expanded, min(sig.original_ttl, left), step)


def signed_data(rrset, sig, rdatas):
    """RFC 4034 section 3.1.8.1."""
    owner = rrset.name
    if sig.labels < labels(owner) - owner.is_wild():
        owner = wildcard_at(ancestor(owner, sig.labels))
    head = owner.to_digestable() + rrset.type.to_bytes(2, "big") + b"\x00\x01" + sig.original_ttl.to_bytes(4, "big")
    rdata = sig.to_digestable()
    return rdata[:len(rdata) - len(sig.signature)] + b"".join(head + len(r).to_bytes(2, "big") + r for r in rdatas)


