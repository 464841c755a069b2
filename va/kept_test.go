package va

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/va/dnssec"
	"github.com/quorate/quorate/va/resolver"
)

// whole is a report in which each member has a value.
func whole() Report {
	n := 0
	var fill func(v reflect.Value)
	fill = func(v reflect.Value) {
		n++
		switch v.Interface().(type) {
		case time.Time:
			v.Set(reflect.ValueOf(time.Date(2026, 1, 1, 0, 0, n, n, time.UTC)))
			return
		case Outcome:
			v.Set(reflect.ValueOf(Fail))
			return
		case dnssec.Status:
			v.Set(reflect.ValueOf(dnssec.Bogus))
			return
		case dnssec.Sets:
			return
		}
		switch v.Kind() {
		case reflect.Struct:
			for i := range v.NumField() {
				fill(v.Field(i))
			}
		case reflect.Pointer:
			v.Set(reflect.New(v.Type().Elem()))
			fill(v.Elem())
		case reflect.Slice:
			v.Set(reflect.MakeSlice(v.Type(), 2, 2))
			for i := range 2 {
				fill(v.Index(i))
			}
		case reflect.Map:
			v.Set(reflect.MakeMap(v.Type()))
			value := reflect.New(v.Type().Elem()).Elem()
			fill(value)
			v.SetMapIndex(reflect.ValueOf("key"), value)
		case reflect.String:
			v.SetString(strings.Repeat("x", 1+n%7))
		case reflect.Bool:
			v.SetBool(true)
		case reflect.Float64:
			v.SetFloat(float64(n) / 4)
		case reflect.Uint8, reflect.Uint16, reflect.Uint32:
			v.SetUint(uint64(n % 200))
		default:
			v.SetInt(int64(n))
		}
	}
	var r Report
	fill(reflect.ValueOf(&r).Elem())
	return r
}

// What is signed and kept of a report is all of it, whatever members it gets.
//
// Holds: REC-01, REC-04
func TestTheKeptReportIsTheReport(t *testing.T) {
	r := whole()
	require.NotEmpty(t, r.CAA.Failures[1].Control.Proof[1].Records)
	text, err := json.Marshal(r)
	require.NoError(t, err)
	var again Report
	require.NoError(t, json.Unmarshal(text, &again))
	require.Equal(t, r, again)
	direct, err := r.MarshalJSON()
	require.NoError(t, err)
	require.Equal(t, string(text), string(direct), "it is compact, and has no octet that JSON would write otherwise")
	var bare Report
	bare.DCV.Outcome, bare.CAA.Outcome = Error, Error
	text, err = json.Marshal(bare)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &again))
	require.Equal(t, bare, again)
	text, err = json.Marshal(&r)
	require.NoError(t, err)
	for name, c := range map[string]struct{ from, to, say string }{
		"an unknown member":          {`"nonce":`, `"is_valid":true,"nonce":`, "unknown object member"},
		"an unknown one of a lookup": {`"queries":`, `"is_valid":true,"queries":`, "unknown object member"},
		"something behind it":        {"", "{}", "after top-level value"},
		"a place that is none":       {`"proof":[`, `"proof":[999,`, "names the stage 999"},
	} {
		changed := strings.Replace(string(text), c.from, c.to, 1)
		if c.from == "" {
			changed = string(text) + c.to
		}
		before := again
		require.ErrorContains(t, again.UnmarshalJSON([]byte(changed)), c.say, name)
		require.Equal(t, before, again, "nothing is taken of what is refused")
	}
}

// An outcome or status that is left out anywhere is no report: one is neither written nor read, wherever a later version may add
// one.
//
// Holds: MPIC-10, F6
func TestNoReportLeavesAnOutcomeOrStatusUnset(t *testing.T) {
	r := whole()
	var places []reflect.Value
	var find func(v reflect.Value)
	find = func(v reflect.Value) {
		switch v.Interface().(type) {
		case Outcome, dnssec.Status:
			places = append(places, v)
			return
		case time.Time:
			return
		}
		switch v.Kind() {
		case reflect.Struct:
			for i := range v.NumField() {
				find(v.Field(i))
			}
		case reflect.Pointer:
			find(v.Elem())
		case reflect.Slice:
			for i := range v.Len() {
				find(v.Index(i))
			}
		}
	}
	find(reflect.ValueOf(&r).Elem())
	require.Len(t, places, 2+2*(1+2)+2*(1+2)+2*3*(1+2), "outcomes; of DCV, CAA and each failure the lookups and their links")
	for _, place := range places {
		old := place.Uint()
		place.SetUint(0)
		_, err := json.Marshal(r)
		require.Error(t, err)
		place.SetUint(old)
	}
	text, err := json.Marshal(r)
	require.NoError(t, err)
	var tree any
	require.NoError(t, json.Unmarshal(text, &tree))
	read := 0
	var drop func(v any)
	drop = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, child := range v {
				drop(child)
			}
		case map[string]any:
			for key, child := range v {
				if key != "status" && key != "outcome" && key != "result" {
					drop(child)
					continue
				}
				if _, number := child.(float64); number { // of an HTTP response
					continue
				}
				delete(v, key)
				without, err := json.Marshal(tree)
				require.NoError(t, err)
				require.Error(t, new(Report).UnmarshalJSON(without), key)
				v[key] = child
				read++
			}
		}
	}
	drop(tree)
	var k struct{ resolver.Shared }
	require.NoError(t, json.Unmarshal(text, &k))
	require.Equal(t, 2+2+2+2*3+len(k.Zones), read)
}
