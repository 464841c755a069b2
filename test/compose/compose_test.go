package compose

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"
)

// top is the project's directory: the compose file's.
const top = "../.."

// file is as much of a compose file as the tests need. The schema knows the rest.
type file struct {
	Services map[string]service
	Networks map[string]struct{ Internal bool }
	Volumes  map[string]any
}

type service struct {
	Image       string
	Build       struct{ Target string }
	User        string
	Command     []string
	Environment map[string]string
	Ports       []string
	Networks    []string
	NetworkMode string `json:"network_mode"`
	DependsOn   map[string]struct {
		Condition string
	} `json:"depends_on"`
	Volumes     []string
	Tmpfs       []string
	Healthcheck struct{ Test []string }
	ReadOnly    bool     `json:"read_only"`
	CapDrop     []string `json:"cap_drop"`
	CapAdd      []string `json:"cap_add"`
	Privileged  bool
	SecurityOpt []string `json:"security_opt"`
	Restart     string
	Profiles    []string
	Logging     struct {
		Options map[string]string
	}
	Deploy struct {
		Resources struct {
			Limits struct {
				Memory string
				Pids   int
			}
		}
	}
}

// once tells whether a service does something and ends.
func (s service) once() bool { return s.Restart == "no" }

// mount is one of a service's volumes: a named one, or a file or directory beside the compose file.
type mount struct {
	source, target string
	readOnly       bool
}

// bind tells that the source is a path.
func (m mount) bind() bool { return strings.HasPrefix(m.source, ".") }

func (s service) mounts(t *testing.T) []mount {
	t.Helper()
	var out []mount
	for _, v := range s.Volumes {
		parts := strings.Split(v, ":")
		require.True(t, len(parts) == 2 || len(parts) == 3 && parts[2] == "ro", "%q is not SOURCE:TARGET[:ro]", v)
		out = append(out, mount{parts[0], parts[1], len(parts) == 3})
	}
	return out
}

// variable is the one form of interpolation that the file uses: a name, and what stands for it where it is not set.
var variable = regexp.MustCompile(`\$\{[A-Z_]+:-([^}]*)\}`)

// document reads the compose file, with no variable set.
func document(t *testing.T) map[string]any {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(top, "docker-compose.yml"))
	require.NoError(t, err)
	text = variable.ReplaceAll(text, []byte("$1"))
	require.NotContains(t, string(text), "$", "a form of interpolation that this test does not know")
	var out map[string]any
	require.NoError(t, yaml.Unmarshal(text, &out))
	return out
}

func load(t *testing.T) file {
	t.Helper()
	text, err := json.Marshal(document(t))
	require.NoError(t, err)
	var f file
	require.NoError(t, json.Unmarshal(text, &f))
	require.Len(t, f.Services, 10)
	return f
}

func TestServicesNameWhatIsThere(t *testing.T) {
	f := load(t)
	stages := dockerfile(t)
	used := map[string]bool{}
	for name, s := range f.Services {
		for _, n := range s.Networks {
			require.Contains(t, f.Networks, n, name)
			used["network "+n] = true
		}
		for other, d := range s.DependsOn {
			require.Contains(t, f.Services, other, name)
			switch d.Condition {
			case "service_completed_successfully":
				require.True(t, f.Services[other].once(), "%s waits for %s to end", name, other)
			case "service_healthy":
				require.NotEmpty(t, f.Services[other].Healthcheck.Test, "%s waits for %s to be well", name, other)
			}
		}
		for _, m := range s.mounts(t) {
			if !m.bind() {
				require.Contains(t, f.Volumes, m.source, name)
				used["volume "+m.source] = true
				continue
			}
			require.True(t, m.readOnly, "%s: a container must not write to %s", name, m.source)
			_, err := os.Stat(filepath.Join(top, m.source))
			require.NoError(t, err, name)
		}
		if s.Build.Target != "" {
			require.Contains(t, stages, s.Build.Target, name)
		}
	}
	require.Len(t, used, len(f.Networks)+len(f.Volumes), "a network or volume that nobody uses")
}

func TestContainersMayDoLittle(t *testing.T) {
	stages := dockerfile(t)
	for name, s := range load(t).Services {
		t.Run(name, func(t *testing.T) {
			require.Regexp(t, `^[1-9][0-9]*:[1-9][0-9]*$`, s.User, "not root, by number")
			require.True(t, s.ReadOnly)
			require.Equal(t, []string{"ALL"}, s.CapDrop)
			require.Empty(t, s.CapAdd)
			require.False(t, s.Privileged)
			require.Contains(t, s.SecurityOpt, "no-new-privileges:true")
			require.Regexp(t, `:[a-z0-9.-]+$`, s.Image, "a tag")
			require.NotRegexp(t, `:latest$`, s.Image)
			require.NotEmpty(t, s.Logging.Options["max-size"])
			for _, m := range s.mounts(t) {
				require.NotContains(t, m.source, "docker.sock")
			}
			for _, p := range s.Ports {
				require.Regexp(t, `^127\.0\.0\.1:[0-9]{4,5}:[0-9]{4,5}$`, p, "published to this machine alone")
			}
			for variable, value := range s.Environment {
				if strings.Contains(variable, "PASSWORD") {
					require.Regexp(t, `_FILE$`, variable, "a password stands in a file, and not here: %s", value)
				}
			}
			if stage, ours := stages[s.Build.Target]; ours {
				require.Equal(t, "scratch", stage.from)
			}
			if s.once() {
				return
			}
			require.Equal(t, "unless-stopped", s.Restart)
			require.NotEmpty(t, s.Deploy.Resources.Limits.Memory)
			require.Positive(t, s.Deploy.Resources.Limits.Pids)
			require.Greater(t, len(s.Healthcheck.Test), 1)
			require.Equal(t, "CMD", s.Healthcheck.Test[0], "there is no shell for CMD-SHELL")
		})
	}
}

// TestTheGateCannotReachTheOwnersPassword: who runs the gate must not be able to change records.
//
// Holds: REC-06
func TestTheGateCannotReachTheOwnersPassword(t *testing.T) {
	f := load(t)
	var with, withGate []string
	for name, s := range f.Services {
		for _, m := range s.mounts(t) {
			switch m.source {
			case "passwords":
				with = append(with, name)
			case "gate":
				withGate = append(withGate, name)
			}
		}
	}
	require.ElementsMatch(t, []string{"init", "database", "migrate"}, with)
	require.ElementsMatch(t, []string{"init", "gate"}, withGate)
	require.Equal(t, []string{"records"}, f.Services["database"].Networks)
	require.True(t, f.Networks["records"].Internal, "the database reaches nobody outside")
	for name, s := range f.Services {
		if slices.Contains(s.Networks, "records") {
			require.Contains(t, []string{"database", "migrate", "gate"}, name)
		}
	}
}

// TestEachPerspectiveHasItsOwnKeysAlone: each has a volume, and no other's.
//
// Holds: MPIC-08
func TestEachPerspectiveHasItsOwnKeysAlone(t *testing.T) {
	f, n := load(t), 0
	for name, s := range f.Services {
		if s.Command != nil && s.Command[0] == "perspective" {
			n++
			require.Equal(t, []mount{{name, "/etc/quorate", true}}, s.mounts(t))
		}
	}
	require.Equal(t, 5, n)
}

// command gives a service's arguments with paths of this machine for those of the container.
func command(t *testing.T, s service, paths map[string]string) []string {
	t.Helper()
	args := slices.Clone(s.Command)
	for i, a := range args {
		if to, ok := paths[a]; ok {
			args[i] = to
		}
	}
	return args
}

// made runs the init service's command line, as anybody and in a directory of the test's, and gives the directory.
func made(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "init")
	args := command(t, load(t).Services["init"], map[string]string{"/init": dir, "/templates": filepath.Join(top, "deploy")})
	out, err := exec.Command(program(t, "quorate"), args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	out, err = exec.Command(program(t, "quorate"), args...).CombinedOutput()
	require.NoError(t, err, "a second time it leaves all as it is: %s", out)
	return dir
}

// TestConfigurationMeetsTheRulesInForce: what init makes of the templates in deploy/ is read strictly (init itself does so),
// and its perspectives meet the rules of the day.
//
// Holds: MPIC-04, MPIC-05
func TestConfigurationMeetsTheRulesInForce(t *testing.T) {
	dir := made(t)
	out, err := exec.Command(program(t, "quorate"), "policy", "--config", filepath.Join(dir, "gate", "quorate.yaml")).CombinedOutput()
	require.NoError(t, err, "%s", out)
	f := load(t)
	text, err := os.ReadFile(filepath.Join(dir, "gate", "quorate.yaml"))
	require.NoError(t, err)
	for name, s := range f.Services {
		if s.Command != nil && s.Command[0] == "perspective" {
			require.Contains(t, string(text), "url: https://"+name+":8444\n")
		}
	}
}

func TestInitWritesEverythingWhereAVolumeIs(t *testing.T) {
	dir := made(t)
	var volumes []string
	for _, m := range load(t).Services["init"].mounts(t) {
		if to, in := strings.CutPrefix(m.target, "/init/"); in {
			volumes = append(volumes, to)
		}
	}
	files := 0
	require.NoError(t, filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		files++
		rel, err := filepath.Rel(dir, filepath.Dir(path))
		require.NoError(t, err)
		require.Contains(t, volumes, rel, "%s would be lost with the container", path)
		info, err := entry.Info()
		require.NoError(t, err)
		if strings.HasSuffix(path, "key.pem") || strings.HasSuffix(path, "password") || strings.HasSuffix(path, ".key") {
			require.Zero(t, info.Mode().Perm()&0o027, "%s has mode %04o", path, info.Mode().Perm())
		}
		return nil
	}))
	require.Greater(t, files, 25)
}

// TestCommandLinesAreTheProgramsOwn: outside of a container each command line fails for want of its files, and for nothing
// else.
func TestCommandLinesAreTheProgramsOwn(t *testing.T) {
	for name, s := range load(t).Services {
		lines := map[string][]string{"command": s.Command}
		if len(s.Healthcheck.Test) > 2 && slices.Contains(s.Healthcheck.Test, "--ca") {
			lines["health check"] = s.Healthcheck.Test[2:]
		}
		for what, args := range lines {
			if s.Build.Target != "quorate" {
				continue // TestTheSandboxIssues runs the other program's
			}
			t.Run(name+"'s "+what, func(t *testing.T) {
				out, err := exec.Command(program(t, "quorate"), args...).CombinedOutput()
				require.Error(t, err)
				require.Contains(t, string(out), "no such file or directory")
			})
		}
	}
}

var secrets = []*regexp.Regexp{
	regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----\\?n?\s*[A-Za-z0-9+/]{40}`),
	regexp.MustCompile(`PRIVATE\+KEY\+[^+\s]+\+[0-9a-f]{8}\+[A-Za-z0-9+/]{40}`),
}

// TestNoSecretIsInTheRepository looks through all tracked files for private keys, and through those of the containers for
// anything that looks like a key, a digest or a password.
func TestNoSecretIsInTheRepository(t *testing.T) {
	cmd := exec.Command("git", "ls-files", "-z")
	cmd.Dir = top
	list, err := cmd.Output()
	if err != nil {
		t.Skipf("this is no work tree of git: %v", err)
	}
	tracked := strings.Split(strings.Trim(string(list), "\x00"), "\x00")
	require.Greater(t, len(tracked), 100)
	long := regexp.MustCompile(`[A-Za-z0-9_+/-]{32,}`)
	for _, name := range tracked {
		text, err := os.ReadFile(filepath.Join(top, name))
		if err != nil {
			continue // somebody is just removing it
		}
		for _, secret := range secrets {
			require.NotRegexp(t, secret, string(text), name)
		}
		if strings.HasPrefix(name, "deploy/") || name == "docker-compose.yml" || name == "Dockerfile" {
			for _, word := range long.FindAllString(string(text), -1) {
				require.Contains(t, word, "/", "%s: %s", name, word)
			}
		}
	}
	for _, s := range []string{"-----BEGIN PRIVATE KEY-----\n" + strings.Repeat("Ab0+", 12),
		fmt.Sprintf("PRIVATE+KEY+%s+0123abcd+%s", "ca/log", strings.Repeat("Ab0+", 12))} {
		require.True(t, slices.ContainsFunc(secrets, func(r *regexp.Regexp) bool { return r.MatchString(s) }), "the search finds %s", s)
	}
}
