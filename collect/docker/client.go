// Package docker asks the docker daemon of this host, over its socket, what
// containers, networks and services it has, and writes the answers as the docker
// client prints them, but only the fields that tell whose address is whose.
//
// What the daemon answers also holds environments, command lines, the output of
// health checks, labels and the arguments of services. None of these is ever
// kept: an answer is decoded into types that have no place for them, and written
// from these.
package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrNoSwarm tells that this host is no manager of a swarm, so that it has no
// list of services, tasks and nodes.
var ErrNoSwarm = errors.New("this host is no manager of a swarm")

// Client asks one daemon. It only ever asks: no request changes anything.
type Client struct {
	http     *http.Client
	version  string // of the API, as 1.41
	patience time.Duration
	most     int64
}

const (
	// patience is how long the daemon may take for one answer.
	patience = 10 * time.Second
	// most bounds one answer. The largest is the list of a swarm's tasks.
	most = 64 << 20
	// newest is the API that this package knows. A newer daemon is asked for
	// it; an older one for its own.
	newest = "1.47"
)

// Open finds the daemon of the host whose files lie below root; "" is this host.
// It connects only when a daemon runs: to connect to the socket of one that does
// not may start it. An error that is fs.ErrNotExist says that there is none.
func Open(root string) (*Client, error) {
	dir := filepath.Join("/", root)
	socket := filepath.Join(dir, "run/docker.sock")
	if _, err := os.Stat(socket); errors.Is(err, fs.ErrNotExist) {
		socket = filepath.Join(dir, "var/run/docker.sock")
	}
	if _, err := os.Stat(socket); err != nil {
		return nil, fmt.Errorf("no docker daemon listens on /var/run/docker.sock: %w", err)
	}
	if !runs(dir) {
		return nil, fmt.Errorf("no docker daemon runs behind /var/run/docker.sock: no process dockerd: %w", fs.ErrNotExist)
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	return &Client{
		http: &http.Client{
			Transport:     &http.Transport{DialContext: dial, MaxIdleConns: 1, DisableCompression: true},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		patience: patience, most: most,
	}, nil
}

// runs tells whether a daemon runs: by its process, or, where a container does
// not see the host's processes, by the file with its number.
func runs(dir string) bool {
	found, _ := filepath.Glob(filepath.Join(dir, "proc/[0-9]*/comm"))
	for _, name := range found {
		if b, _ := os.ReadFile(name); strings.TrimSpace(string(b)) == "dockerd" {
			return true
		}
	}
	for _, name := range []string{"run/docker.pid", "var/run/docker.pid"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return true
		}
	}
	return false
}

// Close ends the connection.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// get asks for one object and decodes it.
func (c *Client) get(ctx context.Context, what string, into any) error {
	return c.ask(ctx, what, func(d *json.Decoder) error { return d.Decode(into) })
}

// each asks for an array. It decodes one object after the other: a decoder
// holds the text of what it decodes, and lists are long.
func each[T any](ctx context.Context, c *Client, what string) (all []T, err error) {
	err = c.ask(ctx, what, func(d *json.Decoder) error {
		switch t, err := d.Token(); {
		case err != nil:
			return err
		case t == nil:
			return nil
		case t != json.Delim('['):
			return errNoList
		}
		for d.More() {
			var o T
			if err := d.Decode(&o); err != nil {
				return err
			}
			all = append(all, o)
		}
		_, err := d.Token()
		return err
	})
	return all, err
}

var errNoList = errors.New("the daemon's answer is no list")

// ask asks in a version of the API that the daemon knows.
func (c *Client) ask(ctx context.Context, what string, decode func(*json.Decoder) error) error {
	if c.version == "" {
		var v struct{ ApiVersion, MinAPIVersion string }
		if err := c.request(ctx, "/version", func(d *json.Decoder) error { return d.Decode(&v) }); err != nil {
			return err
		}
		c.version = agree(v.ApiVersion, v.MinAPIVersion)
	}
	return c.request(ctx, "/v"+c.version+what, decode)
}

// agree chooses the version to speak: the newest that both know.
func agree(theirs, least string) string {
	switch {
	case older(newest, least):
		return least
	case older(theirs, newest):
		return theirs
	}
	return newest
}

// older compares versions such as 1.9 and 1.41. What is none is never older.
func older(a, b string) bool {
	major1, minor1, ok1 := split(a)
	major2, minor2, ok2 := split(b)
	return ok1 && ok2 && (major1 < major2 || major1 == major2 && minor1 < minor2)
}

func split(version string) (major, minor int, ok bool) {
	a, b, _ := strings.Cut(version, ".")
	major, err1 := strconv.Atoi(a)
	minor, err2 := strconv.Atoi(b)
	return major, minor, err1 == nil && err2 == nil
}

// refused is an answer of the daemon that is no success.
type refused struct {
	what   string
	status int
	said   string
}

func (r *refused) Error() string {
	return fmt.Sprintf("docker: GET %s: status %d: %s", r.what, r.status, r.said)
}

// Unwrap tells what a person can do about it.
func (r *refused) Unwrap() error {
	if r.status == http.StatusServiceUnavailable && strings.Contains(r.said, "swarm") || r.status == http.StatusNotAcceptable {
		return ErrNoSwarm
	}
	return nil
}

// isGone tells that an object ended between its listing and the question.
func isGone(err error) bool {
	var r *refused
	return errors.As(err, &r) && r.status == http.StatusNotFound
}

func (c *Client) request(parent context.Context, what string, decode func(*json.Decoder) error) error {
	ctx, cancel := context.WithTimeout(parent, c.patience)
	defer cancel()
	u, err := url.Parse("http://docker" + what)
	if err != nil {
		return fmt.Errorf("docker: %q is no question: %w", what, err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return fmt.Errorf("docker: GET %s: %w", what, err)
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return c.failed(what, err)
	}
	defer answer.Body.Close()
	body := &bounded{in: answer.Body, left: c.most}
	if answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(body, 4096))
		return &refused{what, answer.StatusCode, said(text)}
	}
	err = decode(json.NewDecoder(body))
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrong):
		// Its text would quote the value.
		return fmt.Errorf("docker: GET %s: the daemon's answer has another shape than expected: field %s is a %s", what, wrong.Field, kind(wrong.Value))
	case err != nil:
		return c.failed(what, err)
	}
	return nil
}

// kind is the JSON type in an error, without the value that may follow it.
func kind(value string) string {
	k, _, _ := strings.Cut(value, " ")
	return k
}

func (c *Client) failed(what string, err error) error {
	var syntax *json.SyntaxError
	var timeout net.Error
	switch {
	case errors.Is(err, errTooLarge):
		return fmt.Errorf("docker: GET %s: the answer has more than %d bytes: %w", what, c.most, errTooLarge)
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("docker: GET %s: %w", what, context.Canceled)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("docker: GET %s: no answer within %s; is the daemon well?: %w", what, c.patience, os.ErrDeadlineExceeded)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("docker: only root and the group docker may ask; run as root: %w", fs.ErrPermission)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("no docker daemon runs behind /var/run/docker.sock: %w", fs.ErrNotExist)
	case errors.As(err, &syntax), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return fmt.Errorf("docker: GET %s: the daemon's answer is broken or cut", what)
	}
	return fmt.Errorf("docker: GET %s: %w", what, err)
}

// said takes the message out of an error's answer.
func said(text []byte) string {
	var m struct{ Message string }
	if json.Unmarshal(text, &m) != nil || m.Message == "" {
		return "no message"
	}
	return strings.Join(strings.Fields(strings.ToValidUTF8(m.Message, "?")), " ")
}

var errTooLarge = errors.New("too large")

// bounded fails when more comes than may, where a plain limit would make a cut
// answer look like the end.
type bounded struct {
	in   io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooLarge
	}
	n, err := b.in.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}
