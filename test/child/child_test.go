package child

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMain lets this test's binary be the child.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "-role" {
		err := Obey(os.Stdin, os.Stdout, func(command string) (any, error) {
			if command == "fail" {
				return nil, errors.New("told to")
			}
			return []string{os.Args[2], command}, nil
		})
		if err != nil {
			os.Exit(3)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestAChildAnswersUntilItIsStopped(t *testing.T) {
	var got []string
	c, err := Spawn("echo", map[string]int{"a": 1}, &got)
	require.NoError(t, err)
	require.Equal(t, []string{"echo", `{"a":1}`}, got)
	require.NotEqual(t, os.Getpid(), c.PID())
	long := strings.Repeat("x", 1<<20)
	require.NoError(t, c.Call(long, &got))
	require.Equal(t, long, got[1])
	require.NoError(t, c.Call("and no answer is wanted", nil))
	require.NoError(t, c.Stop())
}

func TestAChildThatFailsIsNoticed(t *testing.T) {
	c, err := Spawn("echo", 1, nil)
	require.NoError(t, err)
	require.ErrorIs(t, c.Call("fail", nil), io.EOF)
	var exit *exec.ExitError
	require.ErrorAs(t, c.Stop(), &exit)
	require.Equal(t, 3, exit.ExitCode())
}

func TestObeyEndsAtTheFirstError(t *testing.T) {
	var out bytes.Buffer
	failure := errors.New("no")
	err := Obey(strings.NewReader("1\n2\n3\n"), &out, func(command string) (any, error) {
		if command == "2" {
			return nil, failure
		}
		return command, nil
	})
	require.ErrorIs(t, err, failure)
	require.Equal(t, "\"1\"\n", out.String())
}
