package resolver

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
)

// questionByLibrary is what appendQuestion must come to.
func questionByLibrary(octets []byte) string {
	end := questionEnd(octets)
	if end == 0 {
		return ""
	}
	name, _, err := dns.UnpackDomainName(octets, header)
	if err != nil {
		return ""
	}
	return strings.ToLower(name) + " " + dns.Type(binary.BigEndian.Uint16(octets[end-4:])).String()
}

// Holds: REC-04
func TestQuestionsAreReadAsTheLibraryReadsThem(t *testing.T) {
	random := rand.New(rand.NewPCG(6, 4))
	read := 0
	for range 20000 {
		m := make([]byte, header)
		for range random.IntN(7) {
			label := make([]byte, random.IntN(1<<random.IntN(7)))
			for i := range label {
				label[i] = "abcxyzABCXYZ0129-_abcdefghijklmnopqrstuvwxyz"[random.IntN(44)]
				if random.IntN(300) == 0 {
					label[i] = byte(random.Uint32())
				}
			}
			m = append(append(m, byte(len(label))), label...)
		}
		m = append(m, 0, byte(random.IntN(3)), byte(random.Uint32()), 0, 1)[:len(m)+random.IntN(6)]
		want := questionByLibrary(m)
		require.Equal(t, want, string(appendQuestion(nil, m)), "%x", m)
		if want != "" {
			read++
		}
	}
	require.Greater(t, read, 3000)
	for length := 250; length < 260; length++ { // a name may have 255 octets
		m := make([]byte, header)
		for left := length - 1; left > 0; {
			n := min(left, 64)
			m = append(append(m, byte(n-1)), bytes.Repeat([]byte{'a'}, n-1)...)
			left -= n
		}
		m = append(m, 0, 0, 1, 0, 1)
		require.Equal(t, questionByLibrary(m), string(appendQuestion(nil, m)), length)
	}
}

// No member of a link or a stage is passed over when two are compared.
//
// Holds: REC-04
func TestWhatDiffersIsKeptTwice(t *testing.T) {
	differ := func(of any, same func(changed any) bool) {
		v := reflect.ValueOf(of)
		for i := range v.NumField() {
			changed := reflect.New(v.Type()).Elem()
			changed.Set(v)
			require.True(t, same(changed.Interface()))
			text := map[string]string{"time.Time": `"2026-01-01T00:00:00Z"`, "*time.Time": `"2026-01-01T00:00:00Z"`, "[]uint16": "[1]", "int": "1",
				"dnssec.Status": `"bogus"`}[v.Field(i).Type().String()]
			if text == "" {
				text = `"x"`
			}
			require.NoError(t, json.Unmarshal([]byte(text), changed.Field(i).Addr().Interface()))
			require.False(t, same(changed.Interface()), v.Type().Field(i).Name)
		}
	}
	differ(Link{}, func(o any) bool { l := o.(Link); return (&Link{}).same(&l) })
	differ(keptStage{}, func(o any) bool { s := o.(keptStage); return (&keptStage{}).same(&s) && s.same(&keptStage{}) })
}
