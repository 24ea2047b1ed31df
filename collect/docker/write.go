package docker

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// object is an id of docker's, or of swarm's.
var object = regexp.MustCompile(`^[A-Za-z0-9]+$`)

// names takes the ids out of a listing. They become part of the next question,
// so that nothing else may stand in them.
func names[T any](all []T, id func(T) string) ([]string, error) {
	var ids []string
	for _, o := range all {
		if !object.MatchString(id(o)) {
			return nil, errors.New("docker: the daemon lists an object whose id is none")
		}
		ids = append(ids, id(o))
	}
	return ids, nil
}

// present leaves out what is null.
func present[T any](all []*T) []*T {
	return slices.DeleteFunc(all, func(o *T) bool { return o == nil })
}

// array is a JSON array that is asked for object by object while it is read, so
// that a host with many containers needs no memory for all.
type array struct {
	left []string
	ask  func(id string) (any, error)

	out    bytes.Buffer
	begun  bool
	over   bool
	failed []error
}

// mostFailed is how many objects may fail before the daemon is left alone.
const mostFailed = 3

func (c *Client) list(ids []string, ask func(id string) (any, error)) io.Reader {
	return &array{left: ids, ask: ask}
}

// written is an array of what was answered at once.
func written[T any](all []*T) io.Reader {
	ids := make([]string, len(all))
	next := 0
	return &array{left: ids, ask: func(string) (any, error) {
		next++
		return all[next-1], nil
	}}
}

// Read gives the array, well-formed in any case. It ends with an error when an
// object is missing from it.
func (a *array) Read(p []byte) (int, error) {
	for a.out.Len() == 0 && !a.over {
		a.step()
	}
	if a.out.Len() > 0 {
		return a.out.Read(p)
	}
	if len(a.failed) > 0 {
		return 0, fmt.Errorf("%d objects are missing: %w", len(a.failed)+len(a.left), a.failed[0])
	}
	return 0, io.EOF
}

// step writes the next object, or the end.
func (a *array) step() {
	if len(a.left) == 0 || len(a.failed) >= mostFailed {
		a.over = true
		if !a.begun {
			a.out.WriteString("[")
		} else {
			a.out.WriteString("\n")
		}
		a.out.WriteString("]\n")
		return
	}
	o, err := a.ask(a.left[0])
	a.left = a.left[1:]
	var text []byte
	if err == nil {
		text, err = indented(o)
	}
	switch {
	case isGone(err):
		return
	case err != nil:
		a.failed = append(a.failed, err)
		return
	}
	a.out.WriteString(map[bool]string{false: "[\n    ", true: ",\n    "}[a.begun])
	a.begun = true
	a.out.Write(text)
}

// indented writes an object as docker inspect does.
func indented(o any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("    ", "    ")
	err := e.Encode(o)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// table writes rows as the docker client does.
func table(rows [][]string) io.Reader {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 10, 1, 3, ' ', 0)
	for _, r := range rows {
		for i := range r {
			r[i] = cell(r[i])
		}
		fmt.Fprintln(w, strings.Join(r, "\t"))
	}
	w.Flush() // into memory
	return &b
}

// cell is a text that cannot end its cell or its row.
func cell(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c >= 0x7f && c < 0xa0 {
			return ' '
		}
		return c
	}, s)
}

// moment is a time as docker ps shows it.
func moment(unix int64) string {
	if unix == 0 {
		return ""
	}
	return time.Unix(unix, 0).UTC().String()
}

func short(id string) string { return id[:min(len(id), 12)] }

// title makes Ready of ready.
func title(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// String is the word for the mode of a service.
func (m mode) String() string {
	switch {
	case m.Global != nil:
		return "global"
	case m.GlobalJob != nil:
		return "global job"
	case m.ReplicatedJob != nil:
		return "replicated job"
	}
	return "replicated"
}

// replicas tells how many tasks run of how many. A daemon before 20.10 does not
// say how many run.
func (s *serviceObject) replicas() string {
	if s.ServiceStatus != nil {
		return fmt.Sprintf("%d/%d", s.ServiceStatus.RunningTasks, s.ServiceStatus.DesiredTasks)
	}
	if r := s.Spec.Mode.Replicated; r != nil && r.Replicas != nil {
		return fmt.Sprintf("?/%d", *r.Replicas)
	}
	return "?/?"
}

func (n *nodeObject) manager() string {
	switch m := n.ManagerStatus; {
	case m == nil:
		return ""
	case m.Leader:
		return "Leader"
	default:
		return title(m.Reachability)
	}
}

// ingress are the ports that a service publishes on every node.
func ingress(all []port) string {
	var texts []string
	for _, p := range all {
		if p.PublishMode != "host" && p.PublishedPort != 0 {
			texts = append(texts, fmt.Sprintf("*:%d->%d/%s", p.PublishedPort, p.TargetPort, p.Protocol))
		}
	}
	slices.Sort(texts)
	return strings.Join(texts, ", ")
}

// run is a range of ports that docker ps shows as one.
type run struct {
	published
	last int
}

func (r run) String() string {
	span := strconv.Itoa(r.PrivatePort)
	if r.last > r.PrivatePort {
		span += "-" + strconv.Itoa(r.last)
	}
	switch {
	case r.IP == "":
		return span + "/" + r.Type
	case r.PublicPort == r.PrivatePort:
		return net.JoinHostPort(r.IP, span) + "->" + span + "/" + r.Type
	}
	return net.JoinHostPort(r.IP, strconv.Itoa(r.PublicPort)) + "->" + span + "/" + r.Type
}

// ports are the ports of a container as docker ps shows them: those that keep
// their number on the host as ranges, and first.
func ports(all []published) string {
	slices.SortFunc(all, func(a, b published) int {
		return cmp.Or(a.PrivatePort-b.PrivatePort, strings.Compare(a.IP, b.IP), a.PublicPort-b.PublicPort, strings.Compare(a.Type, b.Type))
	})
	var same, other []run
	open := map[string]int{} // the last range of an address and protocol
	for _, p := range all {
		r := run{p, p.PrivatePort}
		if p.IP != "" && p.PublicPort != p.PrivatePort {
			other = append(other, r)
			continue
		}
		key := p.IP + "/" + p.Type
		if i, ok := open[key]; ok && same[i].last+1 == p.PrivatePort {
			same[i].last++
			continue
		}
		open[key] = len(same)
		same = append(same, r)
	}
	var texts []string
	for _, r := range append(same, other...) {
		texts = append(texts, r.String())
	}
	return strings.Join(texts, ", ")
}
