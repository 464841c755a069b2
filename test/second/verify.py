#!/usr/bin/python3
"""Proves stored DNS lookups again: a second implementation of docs/proofs.md, from RFC 4033 to 4035, 5155, 6672 and 6840.

It shares no code with va/dnssec. It needs dnspython and cryptography (Debian: python3-dnspython, python3-cryptography).

    verify.py [-v] [FILE...]

Each input line is a JSON object {"lookup", "from", "stages", "zones", "sets", "anchors", "slack"} and, where they are not the
defaults, "algorithms" and "limits". The lookup has the form that reports keep. With "found" the line tells what the first
implementation found of each stage, and a proof must come to the same. With "prover" ("proven", "no-proof" or "error: ...") the line tells what the first implementation made of it,
and agreement is agreement with that; without it, a lookup must be proven, or be a failure that nothing proves. -v prints a
line for each, not only for those on which there is no agreement.
A line cannot be checked that needs an algorithm which is not to be had here, or whose octets only one of the two can read.
Exit status: 0 all lines agree, 1 some do not, 2 some could not be checked and the others agree.
"""
import sys

sys.dont_write_bytecode = True

import base64
import fileinput
import hashlib
import json
import re
from collections import Counter
from datetime import datetime, timedelta, timezone

import dns.exception
import dns.name
import dns.rdata
import dns.rdatatype

from denial import Denial
from records import (CNAME, DIGESTS, DNAME, DNSKEY, DS, NOERROR, NXDOMAIN, YXDOMAIN, Broken, CannotCheck, Judge,
                     Key, Message, Step, Verdict, ancestor, below, bogus, failure, find, group, labels, read_set, serial)

USABLE = ("secure", "insecure")
RANK = {"secure": 1, "insecure": 2, "bogus": 3, "failure": 4}
ALGORITHMS = (8, 10, 13, 14, 15, 16)
MNEMONICS = {5: "RSASHA1", 7: "RSASHA1-NSEC3-SHA1", 8: "RSASHA256", 10: "RSASHA512", 13: "ECDSAP256SHA256",
             14: "ECDSAP384SHA384", 15: "ED25519", 16: "ED448"}
LIMITS = {"signatures_per_rrset": 8, "signatures": 64, "ds_mismatches": 4, "keys_per_tag": 4, "nsec3_hashes": 8,
          "nsec3_iterations": 100}
UNREADABLE = "is no DNS message|cannot be read"  # in the first implementation's errors
SECOND = timedelta(seconds=1)


class Differs(Exception):
    """The proof comes to something else than the record says."""


class Unreadable(Broken):
    """Octets that are no DNS message or records to the library. Libraries differ in what they forgive."""


class NoProof(Exception):
    """Nothing proves the status, which is none that anything may rest on."""


def name_of(text):
    return dns.name.from_text(text).canonicalize()


def moment(text, nanoseconds=0):
    """A time of RFC 3339 with up to nine decimals, and so much later. Six decimals are kept."""
    when, fraction, zone = re.fullmatch(r"([0-9T:-]+)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)", text).groups()
    nanoseconds += int(f"{(fraction or '0'):0<9.9}")
    return datetime.fromisoformat(when + ("+00:00" if zone == "Z" else zone)) + timedelta(microseconds=nanoseconds // 1000)


def restore(kept, report, stages, zones):
    """A lookup out of the form that reports keep (docs/proofs.md, In a report), with its times and octets decoded. report is when
    the report begins."""
    from_start = 0 if "started" in kept else kept.get("after", 0)

    def when(after, otherwise):
        if otherwise is not None:
            return moment(otherwise)
        return moment(kept.get("started", report), from_start + after)

    start = when(0, None)
    lookup = {**kept, "started": start, "finished": when(kept.get("took", 0), kept.get("finished")), "queries": [],
              "chain": [], "proof": []}
    for q in kept["queries"] or []:
        query, response = (base64.b64decode(q.get(m) or "") for m in ("query", "response"))
        if q.get("cookie"):
            query = usual_query(response, base64.b64decode(q["cookie"]))
        lookup["queries"].append({**q, "at": when(q.get("after", 0), q.get("at")), "query": query, "response": response,
                                  "transport": q.get("transport", "udp")})
    for places, table, members in ((kept["chain"], zones, lookup["chain"]), (kept.get("proof"), stages, lookup["proof"])):
        for place in places or []:
            if place < 0:
                raise Broken("a place before the first")
            members.append(table[place])
    for i, stage in enumerate(lookup["proof"]):
        at = moment(stage["at"]) if "at" in stage else start.replace(microsecond=0)
        lookup["proof"][i] = {**stage, "at": at}
    return lookup


def usual_query(response, cookie):
    """The query that a response answers: its identifier and question, and one option with a cookie."""
    end = 12
    while response[end]:
        end += 1 + response[end]
    option = b"\0\x0a" + len(cookie).to_bytes(2, "big") + cookie
    opt = b"\0\0\x29\x04\xd0\0\0\x80\0" + len(option).to_bytes(2, "big") + option
    return response[:2] + bytes((0, 0, 0, 1, 0, 0, 0, 0, 0, 1)) + response[12:end + 5] + opt


def at_time(seconds):
    return datetime.fromtimestamp(seconds, timezone.utc)


class Cut:
    """What is known of a zone's keys from above: DS records, keys of anchors, or that the chain ends (a code)."""

    def __init__(self, ds=(), keys=(), anchored=False, code=""):
        self.ds, self.keys, self.anchored, self.code = list(ds), list(keys), anchored, code

    def tags(self):
        return [d.key_tag for d in self.ds] + [Key(k).tag for k in self.keys]

    def counting(self, algorithms):
        """The DS records that count: SHA-1 ones only where no other does (RFC 4509 section 3)."""
        known = [d for d in self.ds if d.algorithm in algorithms and d.digest_type in DIGESTS]
        return [d for d in known if d.digest_type != 1] or known


def read_anchors(lines):
    cuts = {}
    for line in lines:
        zone, _, _, rdtype, rdata = line.split(None, 4)  # owner, TTL, class, type
        cut = cuts.setdefault(name_of(zone), Cut(anchored=True))
        rdata = dns.rdata.from_text("IN", rdtype, rdata)
        (cut.ds if rdtype == "DS" else cut.keys).append(rdata)
    return cuts


class Proof:
    """Works one lookup's proof out again, stage by stage. The record's stages say only where to look."""

    def __init__(self, line):
        self.lookup = restore(line["lookup"], line["from"], line.get("stages") or [], line.get("zones") or [])
        self.slack = line["slack"]
        self.found = line.get("found")
        self.sets = line["sets"]
        self.limits = {**LIMITS, **(line.get("limits") or {})}
        self.algorithms = frozenset(line.get("algorithms") or ALGORITHMS)
        self.cuts = read_anchors(line["anchors"])
        self.anchored = set(self.cuts)
        self.keys = {}
        self.zones = {}  # what the chain that is shown to people must say of each: status, DS tags, key tags, algorithm
        self.name = None  # the name that the next answer is due for
        self.over = False
        # The verdict.
        self.status, self.code, self.rcode, self.ttl, self.answers = None, "", None, 0, []

    def run(self):
        """Raises NoProof, Broken, Differs or CannotCheck; returns where the record follows from the octets and the anchors."""
        stages = self.lookup.get("proof") or []
        if not stages:
            if self.lookup["status"] in USABLE:
                raise Broken("no proof of a usable status")
            raise NoProof
        self.started, self.finished = self.lookup["started"], self.lookup["finished"]
        self.qtype, self.name = int(dns.rdatatype.from_text(self.lookup["type"])), name_of(self.lookup["name"])
        if not SECOND * 0 <= self.finished - self.started <= SECOND * 120 or len(stages) > 1000:
            raise Broken("no lookup takes so long")
        if self.lookup["name"] != self.name.to_text():
            raise Broken("the name is not in canonical form")
        for q in self.lookup["queries"]:
            if not self.started - SECOND <= q["at"] <= self.finished:
                raise Broken("a query was sent outside of the lookup's time")
        if self.found is not None and len(self.found) != len(stages):
            raise Differs(f"{len(stages)} stages, and the first implementation found {len(self.found)}")
        for i, stage in enumerate(stages):
            self.stage(stage, self.found and self.found[i])
        self.compare_chain()
        if self.name is not None and not self.over:
            if self.lookup["status"] in USABLE:
                raise Broken(f"it ends before an answer for {self.name}")
            raise NoProof
        self.compare()

    def stage(self, stage, found):
        if self.over or self.name is None:
            raise Broken("it goes on after its end")
        if (stage["stage"] == "delegation") != ("name" in stage):
            raise Broken("a delegation alone names a name")
        at = stage["at"]
        if not self.started.replace(microsecond=0) <= at <= self.finished:
            raise Broken("a stage is outside of the lookup's time")
        self.judge = Judge(int(at.timestamp()), self.slack, self.algorithms, self.limits)
        self.steps = []
        work = {"keys": self.stage_keys, "delegation": self.stage_delegation, "answer": self.stage_answer}.get(stage["stage"])
        if work is None:
            raise Broken("no such kind of stage")
        zone = name_of(stage["zone"])
        about = {"keys": zone, "answer": self.name}.get(stage["stage"]) or name_of(stage["name"])
        try:
            status, code = work(stage, zone, about)
        except Verdict as v:
            status, code, self.over = v.status, None, True
        if found is not None:
            self.compare_stage(found, about, status, code)
        if stage["stage"] == "answer" or self.over:
            if self.status in (None, "secure") or RANK[status] > RANK[self.status]:
                self.status, self.code = status, code

    def records(self, stage):
        digest = stage.get("records", "")
        octets = base64.b64decode(self.sets.get(digest) or "")  # of no records at all, too, there is a digest
        if digest not in self.sets or hashlib.sha256(octets).hexdigest() != digest:
            raise Broken("records are missing, or have another digest")
        try:
            return read_set(octets)
        except (dns.exception.DNSException, ValueError, EOFError) as e:
            raise Unreadable(f"the records {digest} cannot be read: {e!r}") from e

    # keys

    def stage_keys(self, stage, zone, name):
        cut = self.cuts.get(zone)
        if cut is None or cut.code:
            raise Broken(f"nothing says how the keys of {zone} are to be known")
        rrset = find(self.records(stage), zone, DNSKEY)
        if rrset is None:
            raise bogus(f"{zone} has no DNSKEY record")
        keys = [Key(rr.rdata) for rr in rrset.rrs if rr.rdata.protocol == 3 and rr.rdata.flags & 0x0180 == 0x0100]
        if any(n > self.limits["keys_per_tag"] for n in Counter((k.tag, k.algorithm) for k in keys).values()):
            raise failure("too many keys of one tag")
        entry = self.entry(zone, cut, keys)
        sig = self.judge.verify(rrset, zone, entry)
        self.steps.append(sig.step)
        self.keys[zone] = keys
        until = at_time(self.judge.now + serial(sig.sig.expiration, self.judge.now))
        self.zones.setdefault(zone, ("secure", cut.tags(), [k.tag for k in keys], sig.sig.algorithm, until))
        return "secure", ""

    def entry(self, zone, cut, keys):
        """The keys that the anchors or the parent's DS records name."""
        named, mismatches = [], 0
        for key in keys:
            step = None
            if any(k.algorithm == key.algorithm and k.key == key.rdata.key for k in cut.keys):
                step = Step("anchor_match", zone, tag=key.tag, algorithm=key.algorithm)
            for ds in cut.counting(self.algorithms):
                if step or ds.key_tag != key.tag or ds.algorithm != key.algorithm:
                    continue
                if DIGESTS[ds.digest_type](zone.to_digestable() + key.rdata.to_wire()).digest() == ds.digest:
                    kind = "anchor_match" if cut.anchored else "ds_match"
                    step = Step(kind, zone, tag=key.tag, algorithm=key.algorithm, digest=ds.digest_type)
                else:
                    mismatches += 1
            if mismatches > self.limits["ds_mismatches"]:
                raise failure("too many DS records that match no key")
            if step and key.usable(self.algorithms):
                named.append(key)
                self.steps.append(step)
        if not named:
            raise bogus(f"no usable key of {zone} is named from above")
        return named

    # delegation

    def stage_delegation(self, stage, zone, name):
        keys = self.keys.get(zone)
        if keys is None or name in self.anchored:
            raise Broken(f"the keys of {zone} are not proven, or {name} has an anchor")
        sets = self.records(stage)
        if not below(name, zone):
            raise bogus(f"{name} does not lie below {zone}")
        rrset = find(sets, name, DS)
        alias = next((s for s in sets if s.type == DNAME and s.rrs and below(name, s.name)), None) or find(sets, name, CNAME)
        if rrset is None and alias:
            sig = self.judge.verify(alias, zone, keys)
            if sig.expanded:
                Denial(self.judge, sets, zone, keys).expansion(alias.name, ancestor(alias.name, sig.sig.labels))
            raise Broken(f"an alias stands at {name} or above, and no delegation")
        if rrset is None:
            denial = Denial(self.judge, sets, zone, keys)
            self.cuts[name] = Cut(code=denial.no_ds(name))
            self.steps = denial.steps
        else:
            sig = self.judge.verify(rrset, zone, keys)
            if sig.expanded:
                raise bogus(f"the DS set of {name} was expanded from a wildcard")
            self.steps.append(sig.step)
            self.cuts[name] = cut = Cut(ds=[rr.rdata for rr in rrset.rrs])
            if cut.counting(self.algorithms):
                return "secure", ""
            cut.code = "dnssec.unsupported-algorithm"
        self.steps.append(Step("insecure_cut", name))
        self.zones.setdefault(name, ("insecure", self.cuts[name].tags(), [], 0, None))
        return "insecure", self.cuts[name].code

    # answer

    def response(self, number):
        queries = self.lookup["queries"]
        if not 1 <= number <= len(queries):
            raise Broken("there is no such query")
        q = queries[number - 1]
        try:
            sent, got = Message(q["query"]), Message(q["response"])
        except (dns.exception.DNSException, ValueError, EOFError) as e:
            raise Unreadable(f"a message cannot be read: {e!r}") from e
        if got.id != sent.id or got.flags & 0xfa00 != 0x8000:  # QR, opcode, TC
            raise Broken("no whole response to this query")
        if not self.lookup.get("upstream") and not got.flags & 0x0400:
            raise Broken("the server is not authoritative")
        if len(sent.questions) != 1 or got.questions != sent.questions:
            raise Broken("the response answers another question")
        if q["transport"] != "tcp" and got.questions[0][0].labels != sent.questions[0][0].labels:
            raise Broken("the response has not the query's case")
        if sent.cookie is not None and got.cookie is not None and not (
                got.cookie[:8] == sent.cookie[:8] and (len(got.cookie) == 8 or 16 <= len(got.cookie) <= 40)):
            raise Broken("the response has another cookie")
        if got.questions[0] != (self.name, self.qtype, 1):
            raise Broken(f"the response answers another question than {self.name}")
        if got.rcode not in (NOERROR, NXDOMAIN, YXDOMAIN):
            raise Broken("the response code goes with no answer")
        return got

    def stage_answer(self, stage, zone, name):
        if not name.is_subdomain(zone):
            raise Broken(f"{name} lies outside of the zone {zone}")
        if self.qtype == DS and name == zone != dns.name.root:
            raise Broken("DS records are the parent's to give")
        between = name
        while between != zone:
            if between in self.anchored and not (between == name and self.qtype == DS):
                raise Broken("a zone with a trust anchor did not answer")
            between = between.parent()
        message = self.response(stage.get("query", 0))
        cut_code = None if zone in self.keys else self.insecure_cut(zone)
        sets = group(message.answer)
        rrset = find(sets, name, self.qtype) or next(
            (s for s in sets if s.type == DNAME and s.rrs and below(name, s.name) and s.name.is_subdomain(zone)), None
        ) or find(sets, name, CNAME)
        if rrset is None and message.rcode == YXDOMAIN:
            raise failure("an alias would be too long")
        if zone in self.keys:
            status, code, ttl = self.signed_answer(message, zone, rrset)
        else:
            status, code = "insecure", cut_code
            if rrset is None and message.answer:
                raise failure("other records than those asked for")
            ttl = rrset.ttl() if rrset else 0
            self.rcode = NOERROR if rrset else message.rcode
        if rrset is None:
            self.name = None
        else:
            self.follow(rrset, ttl)
        return status, code

    def signed_answer(self, message, zone, rrset):
        keys = self.keys[zone]
        denial = None
        if rrset is None:
            denial = Denial(self.judge, group(message.authority), zone, keys)
            self.rcode, status = denial.negative(self.name, self.qtype, message.rcode == NXDOMAIN)
            self.steps = denial.steps
            return status, "" if status == "secure" else "dnssec.opt-out", 0
        sig = self.judge.verify(rrset, zone, keys)
        self.rcode, status = NOERROR, "secure"
        self.steps.append(sig.step)
        if sig.expanded:
            if rrset.type == DNAME:
                raise bogus("a DNAME that was expanded from a wildcard")
            denial = Denial(self.judge, group(message.authority), zone, keys)
            status = denial.expansion(rrset.name, ancestor(rrset.name, sig.sig.labels))
            self.steps += denial.steps
        return status, "" if status == "secure" else "dnssec.opt-out", min(sig.ttl, rrset.ttl())

    def insecure_cut(self, zone):
        """The code of the proven end of the chain at or above a zone; an anchor between begins a chain anew."""
        for n in range(labels(zone), -1, -1):
            cut = self.cuts.get(ancestor(zone, n))
            if cut is not None:
                if cut.code:
                    return cut.code
                break
        raise Broken(f"neither are the keys of {zone} proven, nor that it has none")

    def follow(self, rrset, ttl):
        records = {}
        for rr in rrset.rrs:  # each once, with the smallest of its TTLs
            octets = rr.rdata.to_wire()
            first = records.setdefault(octets, rr)
            records[octets] = first._replace(ttl=min(first.ttl, rr.ttl))
        final = rrset.type == self.qtype and rrset.name == self.name
        if not final and len(records) != 1:
            raise failure("an alias to more than one name")
        self.ttl = min(self.ttl, ttl) if self.answers else ttl
        self.answers += records.values()
        target, self.name = self.name, None
        if not final:
            rdata = next(iter(records.values())).rdata
            try:
                self.name = rdata.target.canonicalize() if rrset.type == CNAME else (
                    target.relativize(rrset.name).concatenate(rdata.target).canonicalize())
            except dns.name.NameTooLong:
                raise failure("an alias is too long") from None

    # What the record says.

    def compare_stage(self, found, about, status, code):
        if found["status"] != status or name_of(found["about"]) != about:
            raise Differs(f"a stage of {found['about']} is said to be {found['status']}; that of {about} comes to {status}")
        if status in USABLE:
            said = [Step(s["step"], name_of(s["name"]), int(dns.rdatatype.from_text(s["type"])) if "type" in s else None,
                         name_of(s["by"]) if "by" in s else None, s.get("tag", 0), s.get("algorithm", 0), s.get("digest", 0))
                    for s in found.get("steps") or []]
            if said != self.steps or found.get("code", "") != code:
                raise Differs(f"the steps of {about}: {said} {found.get('code')}, and they come to {self.steps} {code}")

    def compare_chain(self):
        for link in self.lookup["chain"] or []:
            zone = self.zones.get(name_of(link["zone"]))
            if zone is None:
                if link["result"] == "secure":
                    raise Broken(f"the keys of {link['zone']} are not proven")
                continue
            *found, algorithm, until = zone
            said = [link["result"], link.get("ds") or [], link.get("dnskey") or []]
            if said != found or until != ("until" in link and moment(link["until"]) or None) or (
                    link.get("algorithm") and link["algorithm"] != MNEMONICS.get(algorithm)):
                raise Differs(f"the chain's {link['zone']}: {link}, and it comes to {zone}")

    def compare(self):
        said = self.lookup
        if said["status"] != self.status or (self.status in USABLE and said.get("code", "") != self.code):
            raise Differs(f"the status is said to be {said['status']} and comes to {self.status} {self.code or ''}")
        if self.status not in USABLE:
            return
        if {"NOERROR": NOERROR, "NXDOMAIN": NXDOMAIN}.get(said["rcode"]) != self.rcode or said["ttl"] != self.ttl:
            raise Differs(f"{said['rcode']}, TTL {said['ttl']}, and it comes to {self.rcode}, {self.ttl}")
        answers = [read_answer(a) for a in said["answers"] or []]
        if answers != [(rr.owner.canonicalize().labels, rr.ttl, rr.type, rr.rdata.to_wire()) for rr in self.answers]:
            raise Differs(f"the answers are said to be {said['answers']}, and come to {self.answers}")


def read_answer(text):
    owner, ttl, cls, rdtype, rdata = text.split("\t", 4)
    rdata = dns.rdata.from_text(cls, rdtype, rdata)
    return dns.name.from_text(owner).labels, int(ttl), int(rdata.rdtype), rdata.to_wire()


def prove(line):
    """What a lookup amounts to: "proven", "no-proof", "unchecked", "unreadable" or "error", and why."""
    try:
        Proof(line).run()
    except NoProof:
        return "no-proof", ""
    except CannotCheck as e:
        return "unchecked", str(e)
    except Unreadable as e:
        return "unreadable", str(e)
    except (Broken, Differs) as e:
        return "error", f"{type(e).__name__}: {e}"
    except (dns.exception.DNSException, LookupError, TypeError, ValueError, AttributeError) as e:
        return "error", f"the record is malformed: {e!r}"
    return "proven", ""


def main():
    verbose = "-v" in sys.argv[1:]
    outcomes = Counter()
    for number, text in enumerate(fileinput.input([a for a in sys.argv[1:] if a != "-v"]), 1):
        line = json.loads(text)
        found, why = prove(line)
        said, _, reason = line.get("prover", "").partition(": ")
        if found == "unchecked" or said and (found == "unreadable") != (re.search(UNREADABLE, reason) is not None):
            word = "cannot check"
        else:
            found = "error" if found == "unreadable" else found
            agrees = found == said if said else found in ("proven", "no-proof")
            word = "agree" if agrees else "DIFFER"
        outcomes[word, found] += 1
        if verbose or word != "agree":
            lookup = line["lookup"]
            about = f"{lookup['name']} {lookup['type']} {lookup['status']}"
            print(f"{number} {word}: {about}: {found} {why} | the prover: {said} {reason}")
    counts = Counter()
    for (word, _), n in outcomes.items():
        counts[word] += n
    proven, unproven, refused = (outcomes["agree", k] for k in ("proven", "no-proof", "error"))
    print(f"{sum(counts.values())} lookups: agreement on {counts['agree']} ({proven} proven, {unproven} without proof, {refused} "
          f"refused), disagreement on {counts['DIFFER']}, {counts['cannot check']} could not be checked")
    return 1 if counts["DIFFER"] else 2 if counts["cannot check"] else 0


if __name__ == "__main__":
    sys.exit(main())
