package boulder

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/mpic"
	"github.com/quorate/quorate/va"
)

// FuzzRead: whatever a remoteva answers is read or refused, and no pass is of another perspective or accounts for nothing.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"records":[{"hostname":"example.com","port":"443","addressesResolved":["wAACUA=="],"addressUsed":"MTkyLjAuMi44MA=="}],"perspective":"dadaist","rir":"ARIN"}`),
		[]byte(`{"perspective":"dadaist","rir":"ARIN"}`))
	f.Add([]byte(`{"problem":{"problemType":"unauthorized","detail":"x"}}`), []byte(`{"problem":{}}`))
	f.Fuzz(func(t *testing.T, dcv, caa []byte) {
		for _, method := range va.Methods() {
			m, p := ashburn(), probe(method, mpic.Issuance)
			id, err := accountOf(p.Request.AccountURI)
			require.NoError(t, err)
			var all []mpic.Exchange
			for i, q := range questions(p, id) {
				sent, err := written(q.sent)
				require.NoError(t, err)
				all = append(all, mpic.Exchange{Target: target(m, q.method), Sent: sent, Received: string([][]byte{dcv, caa}[i])})
			}
			s, err := Read(m, p, all)
			if err != nil {
				continue
			}
			require.Equal(t, s.DCV.Outcome == va.Pass, s.DCV.Problem == nil)
			require.Equal(t, s.CAA.Outcome == va.Pass, s.CAA.Problem == nil)
			require.True(t, s.DCV.Outcome != va.Pass || len(s.DCV.Seen) > 0)
		}
	})
}
