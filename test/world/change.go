package world

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// ErrNoZone is returned for a name that no zone of the world but the root holds.
var ErrNoZone = errors.New("world: no zone holds the name")

// Set makes rdata the records of a name and type; nothing else stays at that name and type, and without rdata nothing
// does. RDATA is in presentation format; a TXT value that does not begin with a quotation mark is taken as it is. The
// zone is signed anew before Set returns.
func (w *World) Set(name string, rrtype uint16, rdata ...string) error {
	return w.change(name, rrtype, rdata, func(kept, given []dns.RR) []dns.RR { return given })
}

// Add adds records to those of a name and type.
func (w *World) Add(name string, rrtype uint16, rdata ...string) error {
	return w.change(name, rrtype, rdata, func(kept, given []dns.RR) []dns.RR { return append(kept, given...) })
}

// Remove takes the records with this RDATA away from a name and type, or all of them where no RDATA is given. Records
// that are not there are no error.
func (w *World) Remove(name string, rrtype uint16, rdata ...string) error {
	return w.change(name, rrtype, rdata, func(kept, given []dns.RR) []dns.RR {
		if len(given) == 0 {
			return nil
		}
		return slices.DeleteFunc(kept, func(rr dns.RR) bool {
			return slices.ContainsFunc(given, func(g dns.RR) bool { return dns.IsDuplicate(rr, g) })
		})
	})
}

func (w *World) change(name string, rrtype uint16, rdata []string, how func(kept, given []dns.RR) []dns.RR) error {
	name = dns.CanonicalName(name)
	w.mu.Lock()
	defer w.mu.Unlock()
	zone := w.zoneOf(name)
	if zone == "" || zone == "." && name != "." {
		return fmt.Errorf("%w: %s", ErrNoZone, name)
	}
	return w.edit(zone, func(z *Zone) error { return z.change(name, rrtype, rdata, how) })
}

// Set replaces records of the zone as World.Set does; it is for use in Edit.
func (z *Zone) Set(name string, rrtype uint16, rdata ...string) error {
	return z.change(dns.CanonicalName(name), rrtype, rdata, func(kept, given []dns.RR) []dns.RR { return given })
}

func (z *Zone) change(name string, rrtype uint16, rdata []string, how func(kept, given []dns.RR) []dns.RR) error {
	if !dns.IsSubDomain(z.Name, name) {
		return fmt.Errorf("world: zone %s: %s is outside of the zone", z.Name, name)
	}
	var given []dns.RR
	for _, text := range rdata {
		rr, err := record(name, rrtype, text)
		if err != nil {
			return err
		}
		given = append(given, rr)
	}
	all, err := z.records()
	if err != nil {
		return err
	}
	var rest, kept []dns.RR
	for _, rr := range all {
		if h := rr.Header(); h.Name == name && h.Rrtype == rrtype {
			kept = append(kept, rr)
		} else {
			rest = append(rest, rr)
		}
	}
	var text strings.Builder
	for _, rr := range append(rest, how(kept, given)...) {
		text.WriteString(rr.String())
		text.WriteByte('\n')
	}
	z.Records = text.String()
	return nil
}

// record parses one record from its RDATA.
func record(name string, rrtype uint16, rdata string) (dns.RR, error) {
	if rrtype == dns.TypeTXT && !strings.HasPrefix(rdata, `"`) {
		return &dns.TXT{Hdr: header(name, rrtype), Txt: characterStrings(rdata)}, nil
	}
	rr, err := dns.NewRR(fmt.Sprintf("%s %d IN %s %s", name, ttl, dns.Type(rrtype), rdata))
	if err != nil {
		return nil, fmt.Errorf("world: %s %s %q: %w", name, dns.Type(rrtype), rdata, err)
	}
	if rr == nil || rr.Header().Rrtype != rrtype {
		return nil, fmt.Errorf("world: %s %s %q: not one record of this type", name, dns.Type(rrtype), rdata)
	}
	return rr, nil
}

// characterStrings cuts a TXT value into strings of at most 255 octets (RFC 1035 section 3.3), escaped as the library
// keeps them.
func characterStrings(value string) []string {
	var all []string
	for len(value) > 255 {
		all = append(all, escape(value[:255]))
		value = value[255:]
	}
	return append(all, escape(value))
}

func escape(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s)
}

// Edit changes the statement of a zone while it is served: records, signatures' window, denial, algorithm (which makes
// new keys), servers, what the parent publishes. The zone keeps its name. Nothing changes if edit or the outcome fails.
func (w *World) Edit(zone string, edit func(*Zone) error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.edit(dns.CanonicalName(zone), edit)
}

func (w *World) edit(name string, edit func(*Zone) error) error {
	if w.closed {
		return errors.New("world: closed")
	}
	old, ok := w.zones[name]
	if !ok {
		return fmt.Errorf("%w: %s", ErrNoZone, name)
	}
	z := old.clone()
	if err := edit(&z); err != nil {
		return err
	}
	z, err := z.normal(w.anyAddress)
	if err != nil {
		return err
	}
	if z.Name != name {
		return fmt.Errorf("world: an edit renames zone %s to %s", name, z.Name)
	}
	oldRing := w.rings[name]
	w.zones[name] = z
	if err := w.apply(old, z); err != nil {
		w.zones[name], w.rings[name] = old, oldRing
		return err
	}
	return nil
}

func (w *World) apply(old, z Zone) error {
	only := z.Name
	content := z
	content.Records, content.Window = old.Records, old.Window
	if !reflect.DeepEqual(content, old) {
		only = ""
	}
	if err := w.makeKeys(); err != nil {
		return err
	}
	if err := w.bindServers(); err != nil {
		return err
	}
	return w.publish(only)
}

// Rollover gives a zone new keys at once, and its parent the DS of the new ones.
func (w *World) Rollover(zone string) error {
	name := dns.CanonicalName(zone)
	w.mu.Lock()
	defer w.mu.Unlock()
	z, ok := w.zones[name]
	if !ok {
		return fmt.Errorf("%w: %s", ErrNoZone, name)
	}
	ring, err := newKeyring(z)
	if err != nil {
		return err
	}
	w.rings[name] = ring
	return w.publish("")
}

// Resign makes all signatures anew, valid from now.
func (w *World) Resign() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.resign()
}

func (w *World) resign() error {
	old := w.epoch
	w.epoch = w.now()
	if err := w.publish(""); err != nil {
		w.epoch = old
		return err
	}
	return nil
}
