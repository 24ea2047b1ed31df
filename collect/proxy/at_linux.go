package proxy

import (
	"bufio"
	"context"
	"io"
	"net/netip"
)

// At asks who is at an address that leads to a proxy from elsewhere, as a port
// that kubectl brings here. Ztunnel tells that it may be one, which does not
// know the question. The caller closes what it gives.
func At(ctx context.Context, address netip.AddrPort, ztunnel bool) *Admin {
	return candidate{targets: []target{{port: address}}, ztunnel: ztunnel}.identify(ctx, "")
}

// Rows gives of a log that comes from elsewhere what LogTail gives of a file:
// the rows of an access log, and ErrNoRows where there is none. Name is for its
// errors. It has nothing to close.
func Rows(ctx context.Context, name string, in io.Reader) io.Reader {
	return &Tail{ctx: ctx, path: name, in: bufio.NewReaderSize(in, maxRow)}
}
