package db

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// What a remote ran is read in each form that its reply has in the record. Where a reply was taken out as a whole, nobody can tell, and the
// list of what is affected must not become shorter for it.
//
// Holds: REC-04
func TestTheProgramOfAReplyInEachForm(t *testing.T) {
	// {"alg":"none"} . {"software":"p/2"} . sig
	const compact = "eyJhbGciOiJub25lIn0.eyJzb2Z0d2FyZSI6InAvMiJ9.c2ln"
	taken := `"[sha256:` + digest(nil) + `]"`
	for name, c := range map[string]struct {
		remote string
		want   bool
	}{
		"signed":                      {`{"perspective":"tokyo","state":"answered","signed":{"protected":"x","payload":{"software":"p/2"},"signature":"y"}}`, true},
		"signed, of another":          {`{"perspective":"tokyo","state":"answered","signed":{"protected":"x","payload":{"software":"p/1"},"signature":"y"}}`, false},
		"signed, elsewhere":           {`{"perspective":"osaka","state":"answered","signed":{"protected":"x","payload":{"software":"p/2"},"signature":"y"}}`, false},
		"compact":                     {`{"perspective":"tokyo","state":"answered","signed":"` + compact + `"}`, true},
		"rejected":                    {`{"perspective":"tokyo","state":"rejected","signed":"` + compact + `"}`, true},
		"rejected, and no reply":      {`{"perspective":"tokyo","state":"rejected","signed":"<html>"}`, false},
		"taken out":                   {`{"perspective":"tokyo","state":"answered","signed":` + taken + `}`, true},
		"taken out, elsewhere":        {`{"perspective":"osaka","state":"answered","signed":` + taken + `}`, false},
		"a report":                    {`{"perspective":"tokyo","state":"answered","report":{"software":"p/2"}}`, true},
		"a statement, of no program":  {`{"perspective":"tokyo","state":"answered","statement":{}}`, false},
		"no reply":                    {`{"perspective":"tokyo","state":"timed-out"}`, false},
		"what nobody can read at all": {`{"perspective":"tokyo","state":"answered","signed":17}`, true},
	} {
		t.Run(name, func(t *testing.T) {
			packed := pack([]byte(`{"primary":{"perspective":"zurich","software":"p/1"},"remotes":[`+c.remote+`]}`), nil)
			d := Document{Bytes: packed.bytes, SHA256: packed.sha256}
			require.Equal(t, c.want, d.ran(Criteria{Perspective: "tokyo", PerspectiveSoftware: "p/2"}))
		})
	}
}
