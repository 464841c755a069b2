package rest

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// TestManyWhoAskPutOneQuestion: however many strangers ask whether the gate is ready, its records are asked once at a time.
//
// Holds: D11
func TestManyWhoAskPutOneQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s shared[int]
		put := 0
		question := func(context.Context) (int, error) {
			put++
			time.Sleep(time.Second)
			return put, nil
		}
		answers := make(chan int, 100)
		for range 100 {
			go func() {
				n, err := s.ask(t.Context(), question)
				if err != nil {
					t.Error(err)
				}
				answers <- n
			}()
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := s.ask(gone, question)
		require.ErrorIs(t, err, context.Canceled)
		for range 100 {
			require.Equal(t, 1, <-answers)
		}
		n, err := s.ask(t.Context(), question)
		require.NoError(t, err)
		require.Equal(t, 2, n, "the next is a question of its own")
		_, err = s.ask(t.Context(), func(context.Context) (int, error) { panic("a fault") })
		require.ErrorContains(t, err, "a fault")
		_, err = s.ask(t.Context(), func(ctx context.Context) (int, error) {
			<-ctx.Done()
			return 0, ctx.Err()
		})
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}
