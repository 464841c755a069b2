// The JSON schema of compose files, as compose-go has it: see schema_test.go. Apart from go.mod, since nothing is built from it.
module github.com/quorate/quorate

go 1.26.8

require github.com/compose-spec/compose-go/v2 v2.16.2
