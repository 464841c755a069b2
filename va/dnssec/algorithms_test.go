package dnssec_test

import (
	"bytes"
	"crypto"
	"encoding/base64"
	"math/big"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va/dnssec"
)

// The lengths of keys and signatures are fixed (RFC 6605 section 4, RFC 8080 sections 3 and 4): what is longer or
// shorter is none,
// even where the octets that are wanted stand in it.
//
// Holds: DCV-05
func TestRFC6605_4_RFC8080_3_LengthsOfKeysAndSignatures(t *testing.T) {
	ed, private := ed448Zone(t, "example.com.")
	makers := map[uint8]func() (*dns.DNSKEY, func([]byte) []byte){
		dns.ED448: func() (*dns.DNSKEY, func([]byte) []byte) {
			return ed, func(data []byte) []byte {
				raw, err := private.Sign(nil, data, crypto.Hash(0))
				require.NoError(t, err)
				return raw
			}
		},
		dns.ED25519: func() (*dns.DNSKEY, func([]byte) []byte) {
			s := newSigner(t, "example.com.", dns.ED25519, 256)
			return s.key, func(data []byte) []byte {
				raw, err := s.priv.Sign(nil, data, crypto.Hash(0))
				require.NoError(t, err)
				return raw
			}
		},
	}
	for algorithm, size := range map[uint8]int{dns.ECDSAP256SHA256: 256, dns.ECDSAP384SHA384: 384} {
		makers[algorithm] = func() (*dns.DNSKEY, func([]byte) []byte) {
			s := newSigner(t, "example.com.", algorithm, size)
			return s.key, nil // an ECDSA signature is taken from an RRSIG below
		}
	}
	for algorithm, build := range makers {
		t.Run(dnssec.AlgorithmName(algorithm), func(t *testing.T) {
			k, sign := build()
			public, err := base64.StdEncoding.DecodeString(k.PublicKey)
			require.NoError(t, err)
			parse := dnssec.DefaultAlgorithms()[algorithm]
			verify, err := parse(public)
			require.NoError(t, err)
			for _, other := range [][]byte{nil, public[1:], public[:len(public)-1], append(bytes.Clone(public), 0),
				append([]byte{4}, public...)} {
				_, err := parse(other)
				require.Error(t, err, "a key of %d octets", len(other))
			}
			if sign == nil {
				return
			}
			data := []byte("what is signed")
			sig := sign(data)
			require.True(t, verify(data, sig))
			for _, other := range [][]byte{nil, sig[1:], sig[:len(sig)-1], append(bytes.Clone(sig), 0),
				append([]byte{0}, sig...)} {
				require.False(t, verify(data, other), "a signature of %d octets", len(other))
			}
		})
	}
}

// Holds: DCV-05
func TestRFC6605_4_LengthOfECDSASignatures(t *testing.T) {
	for algorithm, bits := range map[uint8]int{dns.ECDSAP256SHA256: 256, dns.ECDSAP384SHA384: 384} {
		s := newSigner(t, "example.com.", algorithm, bits)
		k := keys(t, s)
		section := s.signed("www.example.com. A 192.0.2.1")
		sig := section[1].(*dns.RRSIG)
		raw, err := base64.StdEncoding.DecodeString(sig.Signature)
		require.NoError(t, err)
		require.Len(t, raw, bits/4)
		for _, c := range []struct {
			octets []byte
			want   dnssec.Status
		}{
			{raw, dnssec.Secure}, {append(bytes.Clone(raw), 0), dnssec.Bogus}, {append([]byte{0}, raw...), dnssec.Bogus},
			{append(bytes.Clone(raw), raw...), dnssec.Bogus}, {raw[:len(raw)-1], dnssec.Bogus}, {make([]byte,
				len(raw)), dnssec.Bogus},
		} {
			sig.Signature = base64.StdEncoding.EncodeToString(c.octets)
			require.Equal(t, c.want, verifier(t).RRset(dnssec.Group(section)[0], k).Status, len(c.octets))
		}
	}
	k := p256(t, "example.com.").key
	raw, err := base64.StdEncoding.DecodeString(k.PublicKey)
	require.NoError(t, err)
	raw[len(raw)-1] ^= 1
	_, err = dnssec.DefaultAlgorithms()[dns.ECDSAP256SHA256](raw)
	require.Error(t, err, "a point beside the curve")
}

// RSA keys by RFC 3110, within the sizes that are used here. The modulus only has to have its length: nothing is signed.
//
// Holds: DCV-05, DCV-09
func TestRFC3110_2_RSAKeysThatAreUsed(t *testing.T) {
	modulus := func(bits int) []byte {
		n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
		return n.SetBit(n, 0, 1).Bytes()
	}
	key := func(exponent []byte, bits int) []byte {
		return append(append([]byte{byte(len(exponent))}, exponent...), modulus(bits)...)
	}
	f4, three := []byte{1, 0, 1}, []byte{3}
	for _, c := range []struct {
		name string
		key  []byte
		used bool
	}{
		{"2048 bits", key(f4, 2048), true},
		{"1024 bits", key(f4, 1024), true},
		{"4096 bits", key(f4, 4096), true},
		{"exponent 3", key(three, 2048), true},
		{"exponent with its length in three octets", append([]byte{0, 0, 3, 1, 0, 1}, modulus(2048)...), true},
		{"1023 bits", key(f4, 1023), false},
		{"512 bits", key(f4, 512), false},
		{"4097 bits", key(f4, 4097), false},
		{"65,536 bits", key(f4, 65536), false},
		{"exponent 1", key([]byte{1}, 2048), false},
		{"exponent 0", key([]byte{0}, 2048), false},
		{"even exponent", key([]byte{1, 0, 0}, 2048), false},
		{"exponent of 32 bits", key([]byte{0xff, 0xff, 0xff, 0xff}, 2048), false},
		{"exponent of five octets", key([]byte{0, 0, 1, 0, 1}, 2048), false},
		{"exponent of no octets", key(nil, 2048), false},
		{"no modulus", append([]byte{3}, f4...), false},
		{"no length", nil, false},
		{"half a length", []byte{0, 0}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, algorithm := range []uint8{dns.RSASHA256, dns.RSASHA512} {
				_, err := dnssec.DefaultAlgorithms()[algorithm](c.key)
				require.Equal(t, c.used, err == nil, "%v", err)
			}
		})
	}
}

// RSASHA1 is outside of the table, so that a zone of it alone is insecure; the wider table is for zones of the past.
//
// Holds: DCV-07
func TestRFC8624_3_1_RSASHA1(t *testing.T) {
	limits, err := dnssec.Limits{}.Complete()
	require.NoError(t, err)
	for _, algorithm := range []uint8{dns.RSASHA1, dns.RSASHA1NSEC3SHA1} {
		s := newSigner(t, "example.com.", algorithm, 1024)
		d := delegation(t, s.key.ToDS(dns.SHA256))
		require.Equal(t, dnssec.Insecure, verifier(t).Delegated(d).Status)
		wide := dnssec.NewVerifier(dnssec.DefaultAlgorithms().WithSHA1(), limits, now)
		require.Equal(t, dnssec.Secure, wide.Delegated(d).Status)
		apex := []dns.RR{s.key}
		k, v := wide.Keys(dnssec.Group(append(apex, s.sign(apex, nil)))[0], d)
		require.Equal(t, dnssec.Secure, v.Status, v.Reason.Text)
		set := dnssec.Group(s.signed("www.example.com. A 192.0.2.1"))[0]
		require.Equal(t, dnssec.Secure, wide.RRset(set, k).Status)
		set.RRs[0].(*dns.A).A[3] ^= 1
		require.Equal(t, dnssec.Bogus, wide.RRset(set, k).Status)
	}
}

// A DS record names a key by tag, algorithm and digest, all three (RFC 4035 section 5.2).
//
// Holds: DCV-05
func TestRFC4035_5_2_DSRecordsNameTheAlgorithm(t *testing.T) {
	s := p256(t, "example.com.")
	apex := []dns.RR{s.key}
	set := dnssec.Group(append(apex, s.sign(apex, nil)))[0]
	for name, edit := range map[string]func(*dns.DS){
		"algorithm": func(ds *dns.DS) { ds.Algorithm = dns.RSASHA256 }, "tag": func(ds *dns.DS) { ds.KeyTag++ },
		"digest type": func(ds *dns.DS) { ds.DigestType = dns.SHA384 },
	} {
		ds := s.key.ToDS(dns.SHA256)
		edit(ds)
		_, v := verifier(t).Keys(set, delegation(t, ds))
		require.Equal(t, dnssec.Bogus, v.Status, name)
		require.Equal(t, dnssec.CodeDSMismatch, v.Reason.Code, name)
	}
}
