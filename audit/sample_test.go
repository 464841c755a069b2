package audit

import (
	"bytes"
	"encoding/pem"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// A sample is the head of the sorted list, however the members come, and those that are added later push out only what they come before.
//
// Holds: REC-04
func TestASampleIsTheHeadOfTheSortedList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.StringN(1, 20, -1).Draw(t, "seed")
		members := rapid.SliceOfDistinct(rapid.StringN(1, 8, -1), rapid.ID[string]).Draw(t, "members")
		count := rapid.IntRange(1, 12).Draw(t, "count")
		sorted := slices.Clone(members)
		slices.SortFunc(sorted, func(a, b string) int {
			x, y := SampleKey(seed, a), SampleKey(seed, b)
			return bytes.Compare(x[:], y[:])
		})
		s, err := NewSample[int](seed, count)
		require.NoError(t, err)
		again := append(slices.Clone(members), members...) // each comes twice
		rand.Shuffle(len(again), func(i, j int) { again[i], again[j] = again[j], again[i] })
		for _, m := range again {
			s.Offer(m, len(m))
		}
		var got []string
		for _, d := range s.Drawn() {
			got = append(got, d.Member)
			require.Equal(t, len(d.Member), d.Value)
		}
		want := sorted[:min(count, len(sorted))]
		require.True(t, slices.Equal(want, got), "%q, want %q", got, want)
	})
	_, err := NewSample[int]("", 1)
	require.Error(t, err)
	_, err = NewSample[int]("x", 0)
	require.Error(t, err)
}

// The key is what sha256sum prints of seed and member: worked out once with coreutils.
func TestTheSampleKeyIsPlain(t *testing.T) {
	d := Drawn[int]{Key: SampleKey("2026-Q4:42", "A1")}
	require.Equal(t, "26c07d2f56f5b8982d4087f3a43c416799575597b4c2a89b49c8944254900b7a", d.Hex())
}

// BR 8.7: the greater of one certificate or three percent.
func TestBR_8_7_PercentOf(t *testing.T) {
	for _, c := range []struct {
		population int64
		percent    int
		want       int64
	}{{0, 3, 0}, {1, 3, 1}, {33, 3, 1}, {34, 3, 2}, {100, 3, 3}, {101, 3, 4}, {1_000_000, 3, 30_000}, {7, 100, 7}} {
		require.Equal(t, c.want, PercentOf(c.population, c.percent), "%+v", c)
	}
}

// Percentiles are those of sorting, to a second within a day and to a minute beyond.
//
// Holds: CAA-05
func TestASpreadIsThatOfSorting(t *testing.T) {
	var none Spread
	require.Zero(t, none.Percentile(50))
	require.Zero(t, none.Max())
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.SliceOfN(rapid.Int64Range(0, 400*86400), 1, 200).Draw(t, "seconds")
		var s Spread
		for _, n := range all {
			s.Add(time.Duration(n)*time.Second + 500*time.Millisecond)
		}
		slices.Sort(all)
		for _, p := range []int{1, 50, 95, 99, 100} {
			want := all[max(1, (len(all)*p+99)/100)-1]
			if want > 86400 {
				want -= want % 60
			}
			require.Equal(t, time.Duration(want)*time.Second, s.Percentile(p))
		}
		require.Equal(t, time.Duration(all[len(all)-1])*time.Second+500*time.Millisecond, s.Max())
		above := 0
		for _, n := range all {
			if n > 8*3600 {
				above++
			}
		}
		require.EqualValues(t, above, s.Above(8*time.Hour))
		require.EqualValues(t, len(all), s.Count())
	})
}

func TestReadCertificatesRefusesWhatItCannotRead(t *testing.T) {
	block := func(kind string, b []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}) }
	for name, text := range map[string][]byte{"nothing": nil, "text": []byte("no certificate"), "octets that are none": block("CERTIFICATE", []byte{1, 2}),
		"cut off": append(block("X", []byte{1}), []byte("-----BEGIN CERTIFICATE-----\nMII")...)} {
		_, err := ReadCertificates(text)
		require.Error(t, err, name)
	}
	damaged := []byte("-----BEGIN CERTIFICATE-----\nMII!\n-----END CERTIFICATE-----\n")
	_, err := ReadCertificates(slices.Concat(block("X", []byte{1}), damaged, block("X", []byte{1})))
	require.ErrorContains(t, err, "3 blocks of PEM begin, and 2 can be read", "it would have been passed over")
	all, err := ReadCertificates(block("PRIVATE KEY", []byte{1}))
	require.NoError(t, err)
	require.Empty(t, all)
}

// A serial number is shown in whole octets, and what expired has no revocation that a CA could add.
func TestIncidentRows(t *testing.T) {
	r := IncidentRow{Certificate: "aa", Subject: "CN=x", Issuer: "CN=y", NotBefore: time.Unix(0, 0).UTC(), NotAfter: time.Unix(100, 0).UTC(),
		Serial: big.NewInt(0xabc), DNSNames: []string{"a.example", "b.example"}}
	require.Equal(t, []string{"N/A", "aa", "CN=x", "CN=y", "1970-01-01T00:00:00Z", "1970-01-01T00:01:40Z", "0abc", "a.example b.example", "", "", ""},
		r.Fields(time.Unix(100, 0)))
	require.Equal(t, []string{"N/A", "N/A", "N/A"}, r.Fields(time.Unix(101, 0))[8:])
	require.Len(t, r.Fields(time.Unix(0, 0)), len(IncidentColumns()))
	_, err := NewIncidentRow([]byte{1}, "aa")
	require.ErrorContains(t, err, "aa")
	require.Equal(t, "https://crt.sh/?sha256=aa", CrtShLink("aa"))
}
