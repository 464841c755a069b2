package pebble

import (
	"net/http"
	"strings"
	"time"

	pebbleacme "github.com/letsencrypt/pebble/v2/acme"
	"github.com/letsencrypt/pebble/v2/core"

	"github.com/quorate/quorate/acme"
	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
)

// newOrder has Pebble make the order, and keeps back what the gate cannot validate: the client sees the order only
// afterwards.
func (s *Server) newOrder(r *http.Request, body []byte) *reply {
	// DCV-12: Pebble keeps no time with a token. Taken before Pebble makes it, this one is never later than the token's
	// own, so that no token passes for younger than it is.
	before := time.Now().UTC().Round(0)
	out := s.ask(r, body)
	if out.status != http.StatusCreated {
		return out
	}
	order := s.store.GetOrderByID(strings.TrimPrefix(out.header.Get("Location"), s.base.String()+orderPath))
	if order == nil {
		return out.refuse(internal("the new order is not in the store"))
	}
	disarm(order)
	order.RLock()
	authorizations, problem := order.AuthorizationObjects, unfulfillable(order)
	order.RUnlock()

	for _, authz := range authorizations {
		if problem == nil {
			authz.RLock()
			problem = unfit(authz, order)
			authz.RUnlock()
		}
	}
	if problem != nil {
		order.Lock()
		order.Error = toPebble(*problem) // the order is invalid from the start
		order.Unlock()
		out.header.Del("Location")
		return out.refuse(*problem)
	}
	for _, authz := range authorizations {
		s.offer(authz, before)
	}
	return out
}

// unfulfillable tells why no certificate could come of an order, nil if one could (RFC 8555 section 7.4: what cannot be fulfilled as
// specified is refused). Pebble would sign whatever times a client wants, before its permit or after.
func unfulfillable(order *core.Order) *acme.Problem {
	refuse := func(format string, args ...any) *acme.Problem {
		p := malformed(0, format, args...)
		return &p
	}
	switch {
	case order.NotBefore != "" || order.NotAfter != "":
		return refuse("the order says notBefore or notAfter; this CA sets both itself")
	case len(order.Identifiers) > mpic.MaxPermitNames:
		return refuse("the order has %d names; a certificate may have %d", len(order.Identifiers), mpic.MaxPermitNames)
	}
	return nil
}

// unfit tells why an order cannot stand with this authorization, nil if it can.
func unfit(authz *core.Authorization, order *core.Order) *acme.Problem {
	ident := &acme.Identifier{Type: authz.Identifier.Type, Value: authz.Identifier.Value}
	if ident.Type != pebbleacme.IdentifierDNS {
		return &acme.Problem{Type: acme.UnsupportedIdentifier, Status: acme.UnsupportedIdentifier.Status(), Identifier: ident,
			Detail: ident.Value + " is an identifier of type " + ident.Type + "; this CA validates DNS names only"}
	}
	if authz.Order != order {
		// Pebble takes over a valid authorization of an earlier order even where it is told to do so in 0 of 100 cases: its
		// dice include 0. Here each order's names have attempts of their own. A client sends a request again, by itself, for
		// one error only (RFC 8555 section 6.5).
		return &acme.Problem{Type: acme.BadNonce, Status: acme.BadNonce.Status(), Identifier: ident,
			Detail: "the order was set aside, because it came with an authorization of an earlier order; " +
				"please send the request again with the new nonce"}
	}
	return nil
}

// offer leaves in an authorization the challenges that the gate supports, and notes each as one that may be begun.
func (s *Server) offer(authz *core.Authorization, created time.Time) {
	authz.Lock()
	defer authz.Unlock()
	var kept []*core.Challenge
	for _, ch := range authz.Challenges {
		if _, err := va.ParseMethod(ch.Type); err == nil {
			kept = append(kept, ch)
			s.offered[ch.ID] = created
		}
	}
	authz.Challenges = kept
}
