package gate

import (
	"net/http"
	"slices"

	"github.com/quorate/quorate/mpic/draft"
	"github.com/quorate/quorate/mpic/openmpic"
)

// Fronts is all that the gate serves at its address: the REST front, and beside it what the configuration adds.
func (g *Gate) Fronts() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case g.openMPIC != nil && slices.Contains(openmpic.Paths(), r.URL.Path):
			g.openMPIC.ServeHTTP(w, r)
		case g.draft != nil && r.URL.Path == draft.Path:
			g.draft.ServeHTTP(w, r)
		default:
			g.Handler.ServeHTTP(w, r)
		}
	})
}
