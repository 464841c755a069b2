package rest

import (
	"net/http"
	"strings"

	"github.com/quorate/quorate/mpic/front"
)

// authenticate finds out who asks. A caller that shows a certificate and a key must be the same client by both.
func (s *Server) authenticate(r *http.Request) (*front.Member, *Problem) {
	if r.TLS == nil { // MPIC-08 in spirit: a key that came in plain text is no secret
		return nil, refusal(http.StatusForbidden, "client.channel", "the API is reached over TLS alone")
	}
	var byCertificate, byKey *front.Member
	if len(r.TLS.PeerCertificates) > 0 {
		if byCertificate = s.clients.ByCertificate(r.TLS.PeerCertificates[0]); byCertificate == nil {
			return nil, refusal(http.StatusForbidden, "client.unknown", "the key of this client certificate is no known client's")
		}
	}
	if header := r.Header.Values("Authorization"); len(header) > 0 {
		scheme, key, _ := strings.Cut(header[0], " ")
		if len(header) > 1 || !strings.EqualFold(scheme, "Bearer") || key == "" {
			return nil, unauthorized("client.credentials", "Authorization must be given once, as: Bearer KEY")
		}
		if byKey = s.clients.ByKey(key); byKey == nil {
			return nil, unauthorized("client.unknown", "this API key is no known client's")
		}
	}
	switch {
	case byCertificate == nil && byKey == nil:
		return nil, unauthorized("client.credentials", "a client certificate or the header Authorization: Bearer KEY is needed")
	case byCertificate != nil && byKey != nil && byCertificate != byKey:
		return nil, refusal(http.StatusForbidden, "client.conflict", "the client certificate and the API key are two different clients'")
	case byKey != nil:
		return byKey, nil
	default:
		return byCertificate, nil
	}
}

func unauthorized(code, detail string) *Problem {
	p := refusal(http.StatusUnauthorized, code, detail)
	p.challenge = true
	return p
}
