package bundle_test

import (
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quorate/quorate/db/bundle"
	"github.com/quorate/quorate/db/dbtest"
	"github.com/quorate/quorate/mpic"
)

// BenchmarkExport writes records of dbtest, whose documents are shorter than real ones.
func BenchmarkExport(b *testing.B) {
	w := populate(b, sqlite(b, nil))
	const records = 500
	for i := range records {
		dbtest.Record(b, w.store, dbtest.Evidence(b, dbtest.Attempt(fmt.Sprint("B", i), fmt.Sprintf("n%d.example.com", i), mpic.Issuance)))
	}
	require.NoError(b, w.publisher.Publish(b.Context()))
	b.Run("bundle", func(b *testing.B) {
		for b.Loop() {
			_, err := bundle.Write(b.Context(), w.store, io.Discard, bundle.Config{Created: created})
			require.NoError(b, err)
		}
		b.ReportMetric(records*float64(b.N)/b.Elapsed().Seconds(), "records/s")
	})
	file, _ := w.export(b, bundle.Config{})
	b.Run("verify", func(b *testing.B) {
		for b.Loop() {
			_, found := w.verify(b, file)
			require.Empty(b, found)
		}
		b.ReportMetric(records*float64(b.N)/b.Elapsed().Seconds(), "records/s")
		b.ReportMetric(float64(len(file))/(records+6), "octets/record")
	})
	b.Run("csv", func(b *testing.B) {
		for b.Loop() {
			require.NoError(b, bundle.Table(b.Context(), w.store, io.Discard, bundle.TableConfig{Format: bundle.CSV}))
		}
		b.ReportMetric(records*float64(b.N)/b.Elapsed().Seconds(), "records/s")
	})
}
