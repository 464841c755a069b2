package compose

import (
	"flag"
	"fmt"
	"os"
	"testing"
)

// inside is set where this process runs in namespaces of its own: the directory of the programs that are built already.
var inside = flag.String("inside", "", "run the services in this namespace, with the programs in this directory")

// built is the directory of images, once there is one.
var built string

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	if built != "" {
		if err := os.RemoveAll(built); err != nil && code == 0 {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}
