package account

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAccounts(t *testing.T) {
	accounts := Prefixes{"https://ca.example/acme/acct/", "https://ca.example/acme/reg/"}
	for uri, want := range map[string]int64{
		"https://ca.example/acme/acct/7": 7, "https://ca.example/acme/reg/12": 12, "https://ca.example/acme/acct/9223372036854775807": 1<<63 - 1,
		"https://ca.example/acme/acct/": 0, "https://ca.example/acme/acct/07": 0, "https://ca.example/acme/acct/-7": 0,
		"https://ca.example/acme/acct/0": 0, "https://ca.example/acme/acct/7/": 0, "https://other.example/acme/acct/7": 0, "": 0,
		"https://ca.example/acme/acct/9223372036854775808": 0, "https://ca.example/acme/acct/+7": 0,
	} {
		id, err := accounts.Number(uri)
		require.Equal(t, want, id, uri)
		require.Equal(t, want == 0, err != nil, uri)
	}
	uri, aliases := accounts.URIs(7)
	require.Equal(t, "https://ca.example/acme/acct/7", uri)
	require.Equal(t, []string{"https://ca.example/acme/reg/7"}, aliases)
	require.NoError(t, accounts.Check())
	for name, a := range map[string]Prefixes{
		"none": nil, "a path": {"/acme/acct/"}, "a digit at the end": {"https://ca.example/acct1"}, "twice": {"https://a.example/", "https://a.example/"},
		"a blank": {"https://a.example/ x/"}, "empty": {""}, "too many": make(Prefixes, 17),
	} {
		require.Error(t, a.Check(), name)
	}
}
