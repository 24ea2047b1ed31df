package cilium

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	// patience is how long the agent may take to begin an answer.
	patience = 5 * time.Second
	// mostAnswer bounds one answer, and mostElement one element of a list, in
	// bytes as the agent sends them.
	mostAnswer  = 256 << 20
	mostElement = 8 << 20
)

// Agent asks the agent of this node. It only ever asks: every request is a GET.
type Agent struct {
	http       *http.Client
	patience   time.Duration
	answer     int64 // at most
	ofElements int64
}

// OpenAgent finds the agent of the host whose files lie below root; "" is this
// host. An error that is fs.ErrNotExist says that there is none.
func OpenAgent(root string) (*Agent, error) {
	dir := filepath.Join("/", root)
	socket := filepath.Join(dir, "run/cilium/cilium.sock")
	if _, err := os.Stat(socket); errors.Is(err, fs.ErrNotExist) {
		socket = filepath.Join(dir, "var/run/cilium/cilium.sock")
	}
	if _, err := os.Stat(socket); err != nil {
		return nil, fmt.Errorf("no agent of Cilium listens on /var/run/cilium/cilium.sock: %w", err)
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	return &Agent{
		http: &http.Client{
			Transport:     &http.Transport{DialContext: dial, MaxIdleConns: 1, DisableCompression: true, ResponseHeaderTimeout: patience},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		patience: patience, answer: mostAnswer, ofElements: mostElement,
	}, nil
}

// Close ends the connection.
func (a *Agent) Close() { a.http.CloseIdleConnections() }

// get asks, and gives the answer while it comes. Ctx bounds all of it.
func (a *Agent) get(ctx context.Context, what string) (*body, error) {
	ctx, cancel := context.WithCancel(ctx)
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/v1"+what, nil)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("cilium's agent: GET %s: %w", what, err)
	}
	late := time.AfterFunc(a.patience, cancel)
	r, err := a.http.Do(q)
	if !late.Stop() && err != nil {
		err = os.ErrDeadlineExceeded
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		cancel()
		return nil, fmt.Errorf("no agent of Cilium runs behind /var/run/cilium/cilium.sock: %w", fs.ErrNotExist)
	case err != nil:
		cancel()
		return nil, fmt.Errorf("cilium's agent: GET %s: %w", what, err)
	}
	b := &body{ctx: ctx, in: r.Body, cancel: cancel, left: a.answer, most: a.ofElements, element: a.ofElements}
	if r.StatusCode != http.StatusOK {
		b.Close()
		return nil, fmt.Errorf("cilium's agent: GET %s: status %d", what, r.StatusCode)
	}
	return b, nil
}

// body is an answer, of which no more is read than may be held.
type body struct {
	ctx           context.Context
	in            io.ReadCloser
	cancel        context.CancelFunc
	left          int64 // of the answer
	element, most int64 // left of an element
}

func (b *body) Read(p []byte) (int, error) {
	room := min(b.left, b.element)
	if room <= 0 {
		return 0, ErrTooLarge
	}
	n, err := b.in.Read(p[:min(int64(len(p)), room)])
	b.left -= int64(n)
	b.element -= int64(n)
	if err != nil && err != io.EOF && b.ctx.Err() != nil {
		err = b.ctx.Err() // and not that the connection is closed
	}
	return n, err
}

func (b *body) Close() error {
	b.cancel()
	return b.in.Close()
}

// health is what of the agent's own state is of use.
type health struct {
	Cilium struct {
		Msg string `json:"msg"` // "1.16.15 (v1.16.15-47c65e6d)"
	} `json:"cilium"`
	Clock struct {
		Mode string `json:"mode"`
	} `json:"clock-source"`
}

// now is the time on the clock of the datapath, or 0 when it is not one of
// seconds since the host started.
func (h *health) now(uptime uint64) uint64 {
	if h.Clock.Mode != "ktime" {
		return 0
	}
	return uptime
}

func (a *Agent) health(ctx context.Context) (h health, err error) {
	ctx, cancel := context.WithTimeout(ctx, a.patience)
	defer cancel()
	b, err := a.get(ctx, "/healthz")
	if err != nil {
		return h, err
	}
	defer b.Close()
	err = json.NewDecoder(b).Decode(&h)
	return h, err
}

// Endpoints lists the endpoints of this node with the names of their pods, as
// cilium-dbg endpoint list -o json does.
func (a *Agent) Endpoints(ctx context.Context) (io.ReadCloser, error) {
	return list[endpoint](ctx, a, "/endpoint", "")
}

// Services lists the services as the agent has them, with their names, as
// cilium-dbg service list -o json does.
func (a *Agent) Services(ctx context.Context) (io.ReadCloser, error) {
	return list[service](ctx, a, "/service", "")
}

// Nodes lists the nodes of the cluster, as cilium-dbg node list -o json does.
func (a *Agent) Nodes(ctx context.Context) (io.ReadCloser, error) {
	return list[node](ctx, a, "/cluster/nodes", "nodes-added")
}

// Addresses lists whose an address is, also on other nodes, as cilium-dbg ip list
// -o json does.
func (a *Agent) Addresses(ctx context.Context) (io.ReadCloser, error) {
	return list[address](ctx, a, "/ip", "")
}

// list asks for a list, which is the answer itself or one of its members.
func list[T any](ctx context.Context, a *Agent, what, member string) (io.ReadCloser, error) {
	b, err := a.get(ctx, what)
	if err != nil {
		return nil, err
	}
	e := &elements[T]{what: what, body: b, d: json.NewDecoder(b)}
	if err := e.begin(member); err != nil {
		b.Close()
		return nil, err
	}
	return &listing{from: e}, nil
}

var errNoList = errors.New("the answer is no list")

// elements prints the elements of a list one after the other: a decoder holds the
// text of what it decodes, and lists are long.
type elements[T any] struct {
	what  string
	body  *body
	d     *json.Decoder
	begun bool
	over  bool
}

// begin finds the list and sees that it has an element.
func (e *elements[T]) begin(member string) error {
	t, err := e.d.Token()
	if err == nil && member != "" && t == json.Delim('{') {
		t, err = e.find(member)
	}
	switch {
	case err != nil:
		return e.broken(err)
	case t != nil && t != json.Delim('['):
		return e.broken(errNoList)
	case t != nil && e.d.More():
		return nil
	case t != nil:
		// More does not tell the end of the list from a failure to read on.
		if _, err := e.d.Token(); err != nil {
			return e.broken(err)
		}
	}
	return fmt.Errorf("cilium's agent: GET %s: the list is empty: %w", e.what, fs.ErrNotExist)
}

// find gives the first token of a member.
func (e *elements[T]) find(member string) (json.Token, error) {
	for e.d.More() {
		name, err := e.d.Token()
		if err != nil {
			return nil, err
		}
		if name == member {
			return e.d.Token()
		}
		var other json.RawMessage
		if err := e.d.Decode(&other); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func (e *elements[T]) broken(err error) error {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("cilium's agent: GET %s: %w", e.what, err)
}

func (e *elements[T]) more(dst []byte) ([]byte, error) {
	for len(dst) < piece {
		if e.over {
			return dst, io.EOF
		}
		if !e.d.More() {
			if _, err := e.d.Token(); err != nil {
				return dst, e.broken(err)
			}
			e.over = true
			return append(dst, "\n]\n\n"...), nil
		}
		var o T
		if err := e.d.Decode(&o); err != nil {
			return dst, e.broken(err)
		}
		e.body.element = e.body.most
		text, err := json.MarshalIndent(o, "  ", "  ")
		if err != nil {
			return dst, e.broken(err)
		}
		lead := ",\n  "
		if !e.begun {
			lead, e.begun = "[\n  ", true
		}
		dst = append(append(dst, lead...), text...)
	}
	return dst, nil
}

func (e *elements[T]) close() { e.body.Close() }
