"""Proofs that a name, a type or a DS record does not exist: RFC 4035 section 5.4, RFC 5155 section 8, RFC 6840 section 4."""
import base64
import hashlib

import dns.name

from records import (CNAME, DNAME, DS, NOERROR, NS, NSEC, NSEC3, NXDOMAIN, SOA, Broken, Step, Verdict, ancestor, below, bogus,
                     failure, labels, wildcard_at)


def has(rdata, rdtype):
    """Whether the bitmap of an NSEC or NSEC3 record has a type."""
    window, octet, bit = rdtype >> 8, (rdtype & 255) >> 3, 0x80 >> (rdtype & 7)
    return any(w == window and octet < len(bits) and bits[octet] & bit for w, bits in rdata.windows)


def delegation_bits(rdata):
    """The parent's side of a cut (RFC 6840 section 4.1)."""
    return has(rdata, NS) and not has(rdata, SOA)


def lacks(name, rdata, qtype):
    """Whether a record that matches a name proves that it has no data of a type, as far as the zone may say."""
    if has(rdata, qtype) or has(rdata, CNAME):
        return False
    if qtype == DS:  # the parent's to say: the apex of the child proves nothing, but the root has no parent
        return name == dns.name.root or not has(rdata, SOA)
    return not delegation_bits(rdata)


class Denial:
    """The NSEC and NSEC3 records of a section that the zone's keys vouch for."""

    def __init__(self, judge, sets, zone, keys):
        self.judge, self.zone, self.steps, self.nsec, self.nsec3, self.hashes = judge, zone, [], [], [], {}
        self.spoilt = None  # what leaves nothing provable, whatever else the section holds
        for rrset in sets:
            if rrset.type in (NSEC, NSEC3) and rrset.rrs and (rrset.type == NSEC or self.known_kind(rrset)):
                try:
                    found = judge.verify(rrset, zone, keys)
                except Verdict as v:
                    if v.status == "failure":
                        self.spoilt = v
                        return
                    continue
                if not found.expanded:
                    self.steps.append(found.step)
                    self.take(rrset)

    def known_kind(self, rrset):
        known = all(rr.rdata.algorithm == 1 and rr.rdata.flags in (0, 1) for rr in rrset.rrs)
        return known and self.owner_hash(rrset.name) is not None

    def owner_hash(self, owner):
        if labels(owner) != labels(self.zone) + 1 or not owner.is_subdomain(self.zone):
            return None
        try:
            digest = base64.b32hexdecode(owner.labels[0].upper())
        except ValueError:
            return None
        return digest if len(digest) == 20 else None

    def take(self, rrset):
        for rdata in (rr.rdata for rr in rrset.rrs):
            if rrset.type == NSEC:
                if rdata.next.is_subdomain(self.zone):
                    self.nsec.append((rrset.name, rdata))
            elif rdata.iterations > self.judge.limits["nsec3_iterations"]:
                self.spoilt = self.spoilt or failure("too many NSEC3 iterations")
            elif self.nsec3 and (rdata.salt, rdata.iterations) != (self.nsec3[0][1].salt, self.nsec3[0][1].iterations):
                self.spoilt = self.spoilt or bogus("NSEC3 records of different parameters")
            elif len(rdata.next) == 20 and not self.spoilt:
                self.nsec3.append((rrset.name, rdata, self.owner_hash(rrset.name)))

    def note(self, kind, name, record):
        self.steps.append(Step(kind, name, by=record[0]))

    # NSEC: where a name stands is "match", "empty" (a non-terminal without records) or "absent", with the record that shows it.

    def place(self, name):
        for record in self.nsec:
            if record[0] == name:
                return "match", record
        return self.cover(name)

    def cover(self, name, records=None):
        for record in records or self.nsec:
            owner, rdata = record
            if not owner < name or not (rdata.next == self.zone or name < rdata.next):
                continue
            if name.is_subdomain(owner) and (delegation_bits(rdata) or has(rdata, DNAME)):
                continue  # the name is another zone's, or would be redirected
            return ("empty" if below(rdata.next, name) else "absent"), record
        return "unknown", None

    @staticmethod
    def encloser(name, record):
        """The closest encloser of an absent name: the longer of the names it shares with either end of the gap."""
        depth = max(name.fullcompare(end)[2] for end in (record[0], record[1].next))
        return ancestor(name, depth - 1)

    def no_data(self, name, qtype):
        where, record = self.place(name)
        if where == "match":
            if not lacks(name, record[1], qtype):
                return False
            self.note("nsec_nodata", name, record)
            return True
        if where == "empty":
            self.note("nsec_ent", name, record)
            return True
        if where != "absent":
            return False
        star = wildcard_at(self.encloser(name, record))
        where, wild = self.place(star)
        if where == "empty" or (where == "match" and lacks(star, wild[1], qtype) and not delegation_bits(wild[1])):
            self.note("nsec_cover", name, record)
            self.note("nsec_wc", star, wild)
            return True
        return False

    def no_name(self, name):
        where, record = self.cover(name)
        if where != "absent":
            return False
        star = wildcard_at(self.encloser(name, record))
        where, wild = self.cover(star)
        if where != "absent":
            return False
        self.note("nsec_cover", name, record)
        self.note("nsec_wc", star, wild)
        return True

    # NSEC3 (RFC 5155 section 8)

    def hash(self, name):
        if name not in self.hashes:
            if len(self.hashes) >= self.judge.limits["nsec3_hashes"]:
                raise failure("too many NSEC3 hashes")
            rdata = self.nsec3[0][1]
            digest = name.to_digestable()
            for _ in range(rdata.iterations + 1):
                digest = hashlib.sha1(digest + rdata.salt).digest()
            self.hashes[name] = digest
        return self.hashes[name]

    def match3(self, name):
        digest = self.hash(name)
        return next((r for r in self.nsec3 if r[2] == digest), None)

    def cover3(self, name):
        digest = self.hash(name)
        for r in self.nsec3:
            start, end = r[2], r[1].next
            if (start < digest < end) if start < end else (digest != start and (digest > start or digest < end)):
                return r
        return None

    def next_closer(self, name, record):
        self.note("nsec3_nc_optout" if record[1].flags & 1 else "nsec3_nc", name, record)

    def enclosed(self, name):
        """The closest encloser, and the record that covers the next closer name (RFC 5155 section 8.3)."""
        top, bottom = labels(self.zone), labels(name) - 1
        # Of a deep name the first ancestor that is covered is looked for from above, to stay within the number of hashes.
        deep = bottom - top >= self.judge.limits["nsec3_hashes"] - 2
        for n in range(top, bottom + 1) if deep else range(bottom, top - 1, -1):
            if self.cover3(ancestor(name, n + 1)) if deep else self.match3(ancestor(name, n)):
                record, cover = self.match3(ancestor(name, n)), self.cover3(ancestor(name, n + 1))
                if record and cover and not delegation_bits(record[1]) and not has(record[1], DNAME):
                    self.note("nsec3_ce", ancestor(name, n), record)
                    self.next_closer(ancestor(name, n + 1), cover)
                    return ancestor(name, n), cover
                break
        raise bogus(f"no closest encloser of {name} is proven")

    # What a section proves as a whole: (what, status).

    def negative(self, name, qtype, nxdomain):
        if self.spoilt:
            raise self.spoilt
        if self.no_data(name, qtype):
            return NOERROR, "secure"
        if self.no_name(name):
            return NXDOMAIN, "secure"
        if not self.nsec3:
            raise bogus(f"nothing proves that {name} has no such record")
        return self.negative3(name, qtype, nxdomain)

    def negative3(self, name, qtype, nxdomain):
        record = self.match3(name)
        if record:
            if not lacks(name, record[1], qtype):
                raise bogus(f"the record of {name} does not prove that the type is missing")
            self.note("nsec3_nodata", name, record)
            return NOERROR, "secure"
        encloser, cover = self.enclosed(name)
        status = "insecure" if cover[1].flags & 1 else "secure"
        star = wildcard_at(encloser)
        wild = self.match3(star)
        if wild:
            if not lacks(star, wild[1], qtype) or delegation_bits(wild[1]):
                raise bogus(f"the wildcard {star} may have the type")
            self.note("nsec3_wc", star, wild)
            return NOERROR, status
        if not nxdomain and status == "insecure":
            return NOERROR, status
        wild = self.cover3(star)
        if not wild:
            raise bogus(f"nothing denies the wildcard {star}")
        self.note("nsec3_wc", star, wild)
        return NXDOMAIN, "insecure" if wild[1].flags & 1 else status

    def expansion(self, name, source):
        """That no name stands closer to an expanded wildcard's answer than source, the wildcard's parent."""
        if self.spoilt:
            raise self.spoilt
        for record in self.nsec:
            if self.cover(name, [record])[0] == "absent" and self.encloser(name, record) == source:
                self.note("nsec_cover", name, record)
                return "secure"
        cover = self.nsec3 and self.cover3(ancestor(name, labels(source) + 1))
        if not cover:
            raise bogus(f"nothing proves that the wildcard stands for {name}")
        self.next_closer(ancestor(name, labels(source) + 1), cover)
        return "insecure" if cover[1].flags & 1 else "secure"

    def no_ds(self, name):
        """That an unsigned delegation stands at a name, or may: the code of the insecure cut."""
        if self.spoilt:
            raise self.spoilt
        where, record = self.place(name)
        kind = "nsec_nodata"
        if where == "unknown" and self.nsec3:
            record, kind = self.match3(name), "nsec3_nodata"
            where = "match" if record else "hashed"
        if where == "match":
            if has(record[1], DS) or has(record[1], SOA):
                raise bogus(f"the record at {name} shows a DS record, or is the child's own")
            if not has(record[1], NS):
                raise Broken(f"no delegation stands at {name}")
            self.note(kind, name, record)
            return "dnssec.insecure-delegation"
        if where == "hashed" and self.enclosed(name)[1][1].flags & 1:
            return "dnssec.opt-out"
        if where == "unknown":
            raise bogus(f"nothing proves that {name} has no DS record")
        raise Broken(f"no delegation stands at {name}")
