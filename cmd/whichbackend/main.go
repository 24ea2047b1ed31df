// Command whichbackend tells, from recorded listings, which backend a
// connection behind a service address really reaches.
package main

import (
	"context"
	"os"
	"os/signal"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	context.AfterFunc(ctx, stop) // a second interrupt ends the process at once
	code := run(ctx, os.Stdin, os.Stdout, os.Stderr, os.Args[1:])
	os.Exit(code)
}
