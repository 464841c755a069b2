package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os/exec"
	"strings"
)

// filter has all packets of the namespace go through rules of nftables, each of which begins with the name of the chain that it is in: sent (where
// packets may be counted; one that is dropped there is told to its sender) or got (where one that is dropped is lost). No rules: no filter.
func filter(ctx context.Context, rules ...string) error {
	cmd := exec.CommandContext(ctx, program("nft"), "-f", "-")
	cmd.Stdin = strings.NewReader(ruleset(rules))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, out)
	}
	return nil
}

// counters are those of the rules of count.
var counters = [4]string{"ask", "answer", "probe", "report"}

func ruleset(rules []string) string {
	text := "add table ip bench\ndelete table ip bench\n"
	if len(rules) == 0 {
		return text
	}
	text += "table ip bench {\n"
	for _, c := range counters {
		text += "counter " + c + " {}\n"
	}
	for chain, hook := range map[string]string{"sent": "output", "got": "input"} {
		text += "chain " + chain + " {\ntype filter hook " + hook + " priority 0; policy accept;\n"
		for _, r := range rules {
			if rule, ok := strings.CutPrefix(r, chain+" "); ok {
				text += rule + "\n"
			}
		}
		text += "}\n"
	}
	return text + "}\n"
}

// nameServers are the addresses of all of them, in nftables' form.
func nameServers() string {
	var all []string
	for _, level := range levels {
		for _, a := range level {
			all = append(all, a.String())
		}
	}
	return "{ " + strings.Join(all, ", ") + " }"
}

// count has rules that count what goes to and from name servers, and to and from a system's remotes.
func count(s system) []string {
	var ports []string
	for i := range sites[1:] {
		ports = append(ports, port(s.remote(i+1)))
	}
	remotes := "{ " + strings.Join(ports, ", ") + " }"
	return []string{"sent ip daddr " + nameServers() + " counter name ask", "sent ip saddr " + nameServers() + " counter name answer",
		"sent tcp dport " + remotes + " counter name probe", "sent tcp sport " + remotes + " counter name report"}
}

func port(at string) string {
	_, p, err := net.SplitHostPort(at)
	if err != nil {
		panic(err) // a constant of ours
	}
	return p
}

// traffic is what a counter has counted: octets with IP's headers.
type traffic struct{ packets, octets int64 }

// counted reads the counters.
func counted(ctx context.Context) ([4]traffic, error) {
	out, err := command(ctx, "", program("nft"), "-j", "list", "counters", "table", "ip", "bench")
	if err != nil {
		return [4]traffic{}, err
	}
	return readCounters(out)
}

func readCounters(text string) (all [4]traffic, err error) {
	var list struct {
		Nftables []struct {
			Counter *struct {
				Name           string
				Packets, Bytes int64
			}
		}
	}
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return all, err
	}
	found := 0
	for _, entry := range list.Nftables {
		for i, name := range counters {
			if c := entry.Counter; c != nil && c.Name == name {
				all[i], found = traffic{c.Packets, c.Bytes}, found+1
			}
		}
	}
	if found != len(all) {
		return all, fmt.Errorf("nft has %d of %d counters: %s", found, len(all), text)
	}
	return all, nil
}
