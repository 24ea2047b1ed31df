package collect

import (
	"context"
	"io"

	"whichbackend/collect/cilium"
)

// ciliumMaps records one listing of the datapath's maps, from the kernel: the
// agent is asked no more than its version, and that only once.
func ciliumMaps(open func(*cilium.Datapath) (io.ReadCloser, error)) func(*env) (io.ReadCloser, error) {
	return func(e *env) (io.ReadCloser, error) {
		if e.r.datapath == nil {
			ctx, cancel := context.WithTimeout(e.ctx, quick)
			defer cancel()
			d, err := cilium.Open(ctx, e.host.root)
			if err != nil {
				return nil, err
			}
			e.r.datapath = d
		}
		return open(e.r.datapath)
	}
}

// ciliumAgent records one of the lists that only the agent has. A part of a list
// would be no JSON.
func ciliumAgent(open func(*cilium.Agent, context.Context) (io.ReadCloser, error)) func(*env, adder) error {
	return func(e *env, add adder) error {
		a, err := cilium.OpenAgent(e.host.root)
		if err != nil {
			return err
		}
		defer a.Close()
		in, err := open(a, e.ctx)
		if err != nil {
			return err
		}
		return add.add(add.name+".json", in, true)
	}
}
