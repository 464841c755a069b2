package world

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/miekg/dns"
)

// Signer says with whose keys a view's version of a zone is signed.
type Signer uint8

const (
	// ByOwner signs with the zone's own keys: the owner himself tells these clients something else.
	ByOwner Signer = iota + 1
	// ByAttacker signs with keys that the parent does not vouch for.
	ByAttacker
	// ByNobody leaves everything unsigned.
	ByNobody
)

// View is a set of clients that may be shown other versions of zones than everybody else. Faults that are meant for
// some clients only say so themselves (Fault.Clients).
type View struct {
	world   *World
	clients []netip.Prefix
	edits   []viewEdit
}

// viewEdit is kept as a function and applied to the zone as it is at each moment: later changes of the zone are seen in
// the view too, except where the edit overrides them.
type viewEdit struct {
	zone   string
	signer Signer
	ring   *keyring
	edit   func(*Zone) error
}

// servedView is one version of a view.
type servedView struct {
	clients []netip.Prefix
	zones   map[string]*signedZone
}

// View makes a view for clients whose source address lies in one of the prefixes. Where several views fit a client and
// a zone, the one made last is shown.
func (w *World) View(clients ...netip.Prefix) *View {
	v := &View{world: w, clients: slices.Clone(clients)}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.views = append(w.views, v)
	return v
}

// Client gives the prefix of a single client.
func Client(addr netip.Addr) netip.Prefix { return netip.PrefixFrom(addr, addr.BitLen()) }

// Edit shows the clients another version of a zone: the zone as it is, with edit applied, signed as said. Edits
// of one zone add up, and the last one's signer counts. Servers, DS and Algorithm of a zone cannot differ in a view.
func (v *View) Edit(zone string, signer Signer, edit func(*Zone) error) error {
	w := v.world
	w.mu.Lock()
	defer w.mu.Unlock()
	e, err := v.newEdit(dns.CanonicalName(zone), signer, edit)
	if err != nil {
		return err
	}
	old := v.edits
	v.edits = append(slices.Clone(old), e)
	if err := w.publish(e.zone); err != nil {
		v.edits = old
		return err
	}
	return nil
}

// Set shows the clients other records at a name and type; see World.Set.
func (v *View) Set(name string, signer Signer, rrtype uint16, rdata ...string) error {
	v.world.mu.Lock()
	zone := v.world.zoneOf(dns.CanonicalName(name))
	v.world.mu.Unlock()
	return v.Edit(zone, signer, func(z *Zone) error { return z.Set(name, rrtype, rdata...) })
}

func (v *View) newEdit(zone string, signer Signer, edit func(*Zone) error) (viewEdit, error) {
	z, ok := v.world.zones[zone]
	if !ok {
		return viewEdit{}, fmt.Errorf("%w: %s", ErrNoZone, zone)
	}
	e := viewEdit{zone: zone, signer: signer, edit: edit}
	var err error
	switch signer {
	case ByOwner, ByNobody:
	case ByAttacker:
		e.ring, err = newKeyring(z)
	default:
		err = fmt.Errorf("world: %d is no signer", signer)
	}
	return e, err
}

// build makes the view's zones. The caller holds World.mu.
func (v *View) build(hosts map[string][]Server) (servedView, error) {
	served := servedView{clients: v.clients, zones: map[string]*signedZone{}}
	zones := map[string]Zone{}
	rings := map[string]*keyring{}
	for _, e := range v.edits {
		z, seen := zones[e.zone]
		if !seen {
			z = v.world.zones[e.zone].clone()
		}
		if err := e.edit(&z); err != nil {
			return served, err
		}
		zones[e.zone] = z
		switch e.signer {
		case ByOwner:
			rings[e.zone] = v.world.rings[e.zone]
		case ByAttacker:
			rings[e.zone] = e.ring
		case ByNobody:
			rings[e.zone] = nil
		}
	}
	for name, z := range zones {
		built, err := v.world.build(z, rings[name], hosts)
		if err != nil {
			return served, err
		}
		served.zones[name] = built
	}
	return served, nil
}

// Close ends the view: its clients see what everybody sees.
func (v *View) Close() error {
	w := v.world
	w.mu.Lock()
	defer w.mu.Unlock()
	w.views = slices.DeleteFunc(w.views, func(o *View) bool { return o == v })
	return w.publishIfOpen()
}

// publishIfOpen shows a changed set of views or faults, without building a zone.
func (w *World) publishIfOpen() error {
	if w.closed {
		return nil
	}
	old := w.state.Load()
	next := &state{zones: old.zones, faults: slices.Clone(w.faults), epoch: w.epoch}
	hosts := w.serverHosts()
	for _, v := range w.views {
		served, err := v.build(hosts)
		if err != nil {
			return err
		}
		next.views = append(next.views, served)
	}
	w.state.Store(next)
	return nil
}

// contains tells whether a client lies in one of the prefixes.
func contains(prefixes []netip.Prefix, client netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(client) })
}

// zone gives the version of a zone that a client sees, or nil.
func (s *state) zone(name string, client netip.Addr) *signedZone {
	for _, v := range slices.Backward(s.views) {
		if z := v.zones[name]; z != nil && contains(v.clients, client) {
			return z
		}
	}
	return s.zones[name]
}
