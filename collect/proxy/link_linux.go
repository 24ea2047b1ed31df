package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// ErrTooLarge ends an answer that is larger than is recorded.
var ErrTooLarge = errors.New("the answer is larger than what is recorded of it")

var (
	errNoHTTP = errors.New("the answer is no HTTP")
	errEnded  = errors.New("the answer ends in its middle")
)

// statusError is an answer that refuses.
type statusError struct{ code int }

func (e *statusError) Error() string {
	return fmt.Sprintf("the answer is %d %s", e.code, http.StatusText(e.code))
}

// dialError is about a connection that could not be made.
type dialError struct{ error }

func (e *dialError) Unwrap() error { return e.error }

const (
	mib      = 1 << 20
	maxHead  = 64 << 10
	dialTime = 2 * time.Second
)

// link is one connection to an endpoint, over which one request goes after the
// other.
type link struct {
	to   target
	proc string

	conn net.Conn
	m    *meter
	in   *bufio.Reader
}

// meter bounds what is read of an answer.
type meter struct {
	conn net.Conn
	left int64
}

func (m *meter) Read(p []byte) (int, error) {
	if m.left <= 0 {
		return 0, ErrTooLarge
	}
	n, err := m.conn.Read(p[:min(int64(len(p)), m.left)])
	m.left -= int64(n)
	return n, err
}

// Close ends the connection.
func (l *link) Close() error {
	if l.conn == nil {
		return nil
	}
	err := l.conn.Close()
	l.conn = nil
	return err
}

// dial connects, on the calling thread: to a literal address Go makes the socket
// where it is called, and not on another thread, which would be in another
// namespace.
func (l *link) dial(ctx context.Context) error {
	network, address := "tcp", l.to.port.String()
	if s := l.to.socket; s != "" {
		network, address = "unix", s
		if s[0] == '/' {
			fd, err := locate(filepath.Join(l.proc, strconv.Itoa(l.to.pid), "root"), s)
			if err != nil {
				return &dialError{err}
			}
			defer unix.Close(fd)
			address = "/proc/self/fd/" + strconv.Itoa(fd)
		}
	}
	d := net.Dialer{Timeout: dialTime, KeepAlive: -1}
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return &dialError{err}
	}
	l.conn, l.m = conn, &meter{conn: conn}
	l.in = bufio.NewReaderSize(l.m, 64<<10)
	return nil
}

// get asks for a path. The answer has to be whole after wait, and may have
// limit bytes.
func (l *link) get(ctx context.Context, path string, limit int64, wait time.Duration) (*answer, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	again := l.conn != nil
	if !again {
		if err := l.dial(ctx); err != nil {
			return nil, err
		}
	}
	a := &answer{link: l, ctx: ctx, path: path, wait: wait}
	err := a.ask(limit)
	var status *statusError
	if err != nil && again && !errors.As(err, &status) && !errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil {
		// The proxy may have closed a connection that was idle.
		if err = l.dial(ctx); err == nil {
			err = a.ask(limit)
		}
	}
	if err != nil {
		return nil, err
	}
	return a, nil
}

// answer is the body of an answer.
type answer struct {
	link *link
	ctx  context.Context
	path string
	wait time.Duration
	stop func() bool
	resp *http.Response
	over bool // all of it was read
}

// ask sends the request and reads the head of the answer.
func (a *answer) ask(limit int64) error {
	l := a.link
	conn := l.conn
	conn.SetDeadline(time.Now().Add(a.wait))
	a.stop = context.AfterFunc(a.ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	l.m.left = maxHead
	_, err := io.WriteString(conn, "GET "+a.path+" HTTP/1.1\r\nHost: localhost\r\nUser-Agent: whichbackend\r\n\r\n")
	if err == nil {
		a.resp, err = http.ReadResponse(l.in, &http.Request{Method: http.MethodGet})
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = a.late()
	case err == io.ErrUnexpectedEOF, errors.Is(err, ErrTooLarge), err != nil && !isNetwork(err):
		err = errNoHTTP
	case err == nil && a.resp.StatusCode != http.StatusOK:
		err = &statusError{a.resp.StatusCode}
	}
	if err != nil {
		a.Close()
		return err
	}
	l.m.left = limit
	return nil
}

func isNetwork(err error) bool {
	var n net.Error
	return errors.As(err, &n)
}

// late tells a request that was given up from one that took too long.
func (a *answer) late() error {
	if err := a.ctx.Err(); err != nil {
		return err
	}
	return fmt.Errorf("no whole answer within %s: %w", a.wait, os.ErrDeadlineExceeded)
}

// Read gives the body, and io.EOF only when it was whole.
func (a *answer) Read(p []byte) (int, error) {
	n, err := a.resp.Body.Read(p)
	switch {
	case err == io.EOF:
		a.over = true
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = a.late()
	case err == io.ErrUnexpectedEOF:
		err = errEnded
	}
	return n, err
}

// Close leaves the connection to the next request when it can be.
func (a *answer) Close() error {
	a.stop()
	if a.over && !a.resp.Close {
		return nil
	}
	return a.link.Close()
}
