package dnssec_test

import (
	"strings"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va/dnssec"
)

// FuzzGroup puts the records of any message into RRsets: each record into exactly one, of its own owner and type, each signature to
// the type that it covers, and nothing of another class.
//
// Holds: DCV-05, C9
func FuzzGroup(f *testing.F) {
	for _, text := range []string{
		"a.example. 300 IN A 192.0.2.1\nA.Example. 300 IN A 192.0.2.2\nb.example. 300 IN A 192.0.2.1",
		"a.example. 300 CH TXT x\na.example. 300 IN TXT x\na.example. 300 IN RRSIG TXT 13 2 300 20300101000000 20200101000000 1 example. AAAA",
	} {
		m := new(dns.Msg)
		for line := range strings.Lines(text) {
			rr, err := dns.NewRR(line)
			require.NoError(f, err)
			m.Answer = append(m.Answer, rr)
		}
		wire, err := m.Pack()
		require.NoError(f, err)
		f.Add(wire)
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		m := new(dns.Msg)
		if m.Unpack(wire) != nil {
			return
		}
		section := append(append(m.Answer, m.Ns...), m.Extra...)
		want := 0
		for _, rr := range section {
			if rr.Header().Class == dns.ClassINET && rr.Header().Rrtype != dns.TypeOPT {
				want++
			}
		}
		type id struct {
			name  string
			rtype uint16
		}
		seen, got := map[id]bool{}, 0
		for _, s := range dnssec.Group(section) {
			require.False(t, seen[id{s.Name, s.Type}], "two RRsets of %s %d", s.Name, s.Type)
			seen[id{s.Name, s.Type}] = true
			for _, rr := range s.RRs {
				require.Equal(t, s.Name, strings.ToLower(rr.Header().Name))
				require.Equal(t, s.Type, rr.Header().Rrtype)
				require.Equal(t, uint16(dns.ClassINET), rr.Header().Class)
			}
			for _, sig := range s.Sigs {
				require.Equal(t, s.Name, strings.ToLower(sig.Hdr.Name))
				require.Equal(t, s.Type, sig.TypeCovered)
			}
			got += len(s.RRs) + len(s.Sigs)
		}
		require.Equal(t, want, got)
	})
}

// FuzzRecords reads what claims to be stored records.
//
// Holds: REC-04
func FuzzRecords(f *testing.F) {
	f.Add([]byte{0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 192, 0, 2, 1})
	f.Add([]byte{0xc0, 0x00, 0, 1, 0, 1, 0, 0, 0, 1, 0, 0})
	f.Fuzz(func(t *testing.T, octets []byte) {
		rrs, err := dnssec.Records(octets)
		if err == nil {
			require.LessOrEqual(t, len(rrs)*11, len(octets), "a record has eleven octets at least")
		}
	})
}
