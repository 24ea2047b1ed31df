package kube

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// The reasons of the bundle format for what is missing.
const (
	notFound   = "not-found"
	permission = "permission"
	timedOut   = "timeout"
	tooLarge   = "too-large"
	failed     = "failed"
	excluded   = "excluded"
)

const (
	mib   = 1 << 20
	quick = 10 * time.Second
	slow  = 30 * time.Second // tables that grow with the connections
	lists = time.Minute      // of the whole cluster
)

// terminated is what kubectl adds to what a command said.
var terminated = regexp.MustCompile(`(?m)^command terminated with exit code \d+\s*$`)

// judge puts what became of a call into the words of the bundle format; because
// is "" when all is well.
func (o outcome) judge(c call) (because, detail string) {
	also := ""
	if o.kept > 0 {
		also = fmt.Sprintf("; the %d bytes that it gave are recorded", o.kept)
	}
	switch {
	case o.good():
		return "", ""
	case o.full:
		return tooLarge, fmt.Sprintf("cut at a line before %d bytes", c.limit) + also
	case o.timeout:
		return timedOut, "stopped at its deadline, of " + c.deadline.String() + " or what --timeout left" + also
	case o.err != nil:
		return failed, plain(o.err.Error()) + also
	}
	said := strings.ToLower(o.said)
	switch {
	case contains(said, "(forbidden)", "is forbidden", "permission denied", "not permitted", "(unauthorized)"):
		because = permission
	case o.noTool(), o.noFile():
		because = notFound
	default:
		because = failed
	}
	return because, fmt.Sprintf("exit %d: %s", o.exit, plain(terminated.ReplaceAllString(o.said, ""))) + also
}

// noProgram matches how container runtimes say that a container does not have
// the program that it was to run.
var noProgram = regexp.MustCompile(`executable file .*not found|exec: "[^"]*": (stat|no such file)`)

// noTool tells that a container does not have the command that it was to run.
func (o outcome) noTool() bool {
	return o.exit == 127 || o.exit != 0 && noProgram.MatchString(o.said)
}

// noFile tells that a file of the kernel that was to be read is not there.
func (o outcome) noFile() bool {
	return o.exit != 0 && strings.Contains(o.said, "/proc/") && strings.Contains(strings.ToLower(o.said), "no such file or directory")
}

func contains(s string, any ...string) bool {
	for _, a := range any {
		if strings.Contains(s, a) {
			return true
		}
	}
	return false
}

// plain makes one short line of what a command said.
func plain(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "?")), " ")
	s = strings.Map(func(c rune) rune {
		if c < ' ' || c >= 0x7f && c < 0xa0 || c >= 0x2028 && c <= 0x202e || c >= 0x2066 && c <= 0x2069 {
			return -1
		}
		return c
	}, s)
	if r := []rune(s); len(r) > 300 {
		s = string(r[:300]) + " ..."
	}
	if s == "" {
		return "it did not say why"
	}
	return s
}
