package compose

import (
	"bytes"
	"debug/elf"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// stage is a stage of the Dockerfile: what it begins from, and its instructions as they stand there.
type stage struct {
	from         string
	instructions []instruction
}

type instruction struct{ name, rest string }

func (s stage) all(name string) []string {
	var out []string
	for _, i := range s.instructions {
		if i.name == name {
			out = append(out, i.rest)
		}
	}
	return out
}

// entrypoint gives the program of an ENTRYPOINT in JSON's form with nothing but a path.
func (s stage) entrypoint(t *testing.T) string {
	t.Helper()
	require.Len(t, s.all("ENTRYPOINT"), 1)
	m := regexp.MustCompile(`^\["(/[a-z-]+)"\]$`).FindStringSubmatch(s.all("ENTRYPOINT")[0])
	require.NotNil(t, m)
	return m[1]
}

// dockerfile reads the Dockerfile's stages, by name.
func dockerfile(t *testing.T) map[string]stage {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(top, "Dockerfile"))
	require.NoError(t, err)
	out, name := map[string]stage{}, ""
	joined := strings.ReplaceAll(string(text), "\\\n", " ")
	for line := range strings.Lines(joined) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		word, rest, _ := strings.Cut(line, " ")
		if word == "FROM" {
			fields := strings.Fields(rest)
			require.Len(t, fields, 3)
			require.Equal(t, "AS", fields[1])
			name = fields[2]
			out[name] = stage{from: fields[0]}
			continue
		}
		s := out[name]
		s.instructions = append(s.instructions, instruction{word, strings.TrimSpace(rest)})
		out[name] = s
	}
	require.Len(t, out, 3)
	return out
}

func TestImagesHoldOneProgramAndNothingElse(t *testing.T) {
	stages := dockerfile(t)
	version := regexp.MustCompile(`(?m)^go (\S+)$`)
	mod, err := os.ReadFile(filepath.Join(top, "go.mod"))
	require.NoError(t, err)
	require.Equal(t, "golang:"+version.FindStringSubmatch(string(mod))[1]+"-bookworm", stages["build"].from, "the Go of go.mod")
	for name, dirs := range map[string]bool{"quorate": true, "quorate-sandbox": false} {
		t.Run(name, func(t *testing.T) {
			s := stages[name]
			require.Equal(t, "scratch", s.from)
			for _, i := range s.instructions {
				require.Contains(t, []string{"COPY", "USER", "ENTRYPOINT"}, i.name, "nothing runs in it")
			}
			want := []string{"--from=build /out/" + name + " /" + name}
			if dirs {
				want = append(want, "--from=build --chown=65532:65532 /dirs/ /")
			}
			require.Equal(t, want, s.all("COPY"))
			require.Equal(t, []string{"65532:65532"}, s.all("USER"))
			require.Equal(t, "/"+name, s.entrypoint(t))
		})
	}
}

// directories are the empty ones that the image has, owned by its user: the build makes them below /dirs.
func directories(t *testing.T) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	for _, run := range dockerfile(t)["build"].all("RUN") {
		rest, makes := strings.CutPrefix(run, "mkdir -p ")
		if !makes {
			continue
		}
		for _, dir := range strings.Fields(rest) {
			dir, below := strings.CutPrefix(dir, "/dirs")
			require.True(t, below, run)
			for ; dir != "/"; dir = path.Dir(dir) {
				out[dir] = true
			}
		}
	}
	require.Greater(t, len(out), 5)
	return out
}

// TestVolumesBeginAsTheImagesUser: an engine gives a new volume the owner of the image's directory at which the first
// container has it, and that is init's or the gate's.
func TestVolumesBeginAsTheImagesUser(t *testing.T) {
	there := directories(t)
	for _, name := range []string{"init", "gate"} {
		for _, m := range load(t).Services[name].mounts(t) {
			if !m.bind() {
				require.True(t, there[m.target], "the image lacks %s, which %s mounts a volume at", m.target, name)
			}
		}
	}
}

// ignored tells whether .dockerignore keeps a file out of a build: the last line that fits counts.
func ignored(patterns []string, name string) bool {
	out := false
	for _, p := range patterns {
		p, except := strings.CutPrefix(p, "!")
		fits := p == "*" || name == p || strings.HasPrefix(name, p+"/")
		if tail, anywhere := strings.CutPrefix(p, "**/"); anywhere {
			for part := name; part != "."; part = path.Dir(part) {
				if ok, _ := path.Match(tail, path.Base(part)); ok {
					fits = true
				}
			}
		}
		if fits {
			out = !except
		}
	}
	return out
}

// buildContext copies what a build sees.
func buildContext(dir string) error {
	text, err := os.ReadFile(filepath.Join(top, ".dockerignore"))
	if err != nil {
		return err
	}
	var patterns []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			patterns = append(patterns, line)
		}
	}
	return filepath.WalkDir(top, func(name string, entry fs.DirEntry, err error) error {
		if err != nil && !errors.Is(err, fs.ErrNotExist) || name == top {
			return err
		}
		rel, relErr := filepath.Rel(top, name)
		if relErr != nil {
			return relErr
		}
		if entry.IsDir() {
			if rel == ".git" || rel == ".cache" || rel == "bin" {
				return fs.SkipDir
			}
			return nil
		}
		if ignored(patterns, filepath.ToSlash(rel)) {
			return nil
		}
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		to := filepath.Join(dir, rel)
		return errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, content, 0o644))
	})
}

// images builds both programs with the Dockerfile's own line, in a directory with what a build would see, once for all tests.
var images = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "quorate-compose-")
	if err != nil {
		return dir, err
	}
	built = dir
	if err := errors.Join(os.Chmod(dir, 0o755), buildContext(filepath.Join(dir, "src"))); err != nil {
		return dir, err
	}
	text, err := os.ReadFile(filepath.Join(top, "Dockerfile"))
	if err != nil {
		return dir, err
	}
	line := regexp.MustCompile(`(?m)^RUN (CGO_ENABLED=0 go build .*)$`).FindSubmatch(text)
	if line == nil {
		return dir, errors.New("the Dockerfile builds nothing")
	}
	cmd := exec.Command("/bin/sh", "-c", strings.Replace(string(line[1]), "/out/", filepath.Join(dir, "out")+"/", 1))
	cmd.Dir, cmd.Env = filepath.Join(dir, "src"), append(os.Environ(), "VERSION=of-this-build")
	if out, err := cmd.CombinedOutput(); err != nil {
		return dir, errors.Join(err, errors.New(string(out)))
	}
	return dir, os.RemoveAll(filepath.Join(dir, "src"))
})

// program gives one of our programs, built as for its image.
func program(t *testing.T, name string) string {
	t.Helper()
	if *inside != "" {
		return filepath.Join(*inside, name)
	}
	dir, err := images()
	require.NoError(t, err)
	return filepath.Join(dir, "out", name)
}

func TestProgramsAreStatic(t *testing.T) {
	for _, name := range []string{"quorate", "quorate-sandbox"} {
		t.Run(name, func(t *testing.T) {
			f, err := elf.Open(program(t, name))
			require.NoError(t, err)
			defer f.Close()
			for _, p := range f.Progs {
				require.NotEqual(t, elf.PT_INTERP, p.Type, "it would need a dynamic linker")
			}
			libraries, err := f.ImportedLibraries()
			require.NoError(t, err)
			require.Empty(t, libraries)
			out, err := exec.Command(program(t, name), "--version").Output()
			require.NoError(t, err)
			require.Equal(t, name+" of-this-build", string(bytes.TrimSpace(out)))
		})
	}
}

func TestBuildsSeeWhatTheyNeedAndNothingElse(t *testing.T) {
	patterns := []string{"*", "!go.mod", "!db", "!test/world", "**/*_test.go", "**/testdata"}
	for name, want := range map[string]bool{
		"go.mod": false, "db/store.go": false, "db/migrations/00001_records.sql": false, "test/world/world.go": false,
		"records.db": true, "deploy/x": true, ".git/config": true, "db/a_test.go": true, "db/testdata/x/y": true, "test/x.go": true, "dbx": true,
	} {
		require.Equal(t, want, ignored(patterns, name), name)
	}
}
