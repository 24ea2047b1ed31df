package kube

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"os"
	"path"
	"strings"
	"time"

	"whichbackend/collect/bundle"
	"whichbackend/collect/proxy"
)

const (
	istioProxy = "istio-proxy"
	logRows    = "20000"
)

// adminPorts are the ports to try in a container that is a proxy by its name.
var adminPorts = map[string][]string{
	istioProxy: {"15000"}, "envoy": {"19000", "9901"}, "envoy-sidecar": {"19000"}, "consul-dataplane": {"19000"}, "kuma-sidecar": {"9901"},
}

// proxies records what the proxies of a pod know, through their admin port,
// which kubectl brings here: so it needs no tool in the pod. Where an agent has
// recorded proxies of the node, it has recorded these.
func (r *recorder) proxies(ctx context.Context, p *pod, brought bool) {
	if brought && r.hasProxies(folder(p.node)) {
		return
	}
	for _, c := range p.containers {
		ports := adminPorts[c]
		if ports == nil {
			continue
		}
		ztunnel := p.labels["app"] == "ztunnel" // whose container has the name of a sidecar
		var why error
		for _, port := range ports {
			if why = r.admin(ctx, p, port, ztunnel); why == nil || ctx.Err() != nil {
				break
			}
		}
		if why != nil {
			r.missing(p.node, "pods/"+p.id.String()+" proxy in "+c, reason(why), plain(why.Error()))
		}
		r.accessLog(ctx, p, c)
	}
}

func (r *recorder) hasProxies(folder string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for p := range r.have {
		base := path.Base(p)
		if strings.HasPrefix(p, folder+"/") && (strings.HasPrefix(base, "envoy-config_dump") || strings.HasPrefix(base, "ztunnel-")) {
			return true
		}
	}
	return false
}

// admin records what the proxy at a port of a pod tells. The error is for a
// port where there is none.
func (r *recorder) admin(ctx context.Context, p *pod, port string, ztunnel bool) error {
	f, o := r.kubectl.forward(ctx, p, port)
	if f == nil {
		_, detail := o.judge(call{deadline: quick})
		return errors.New("port " + port + ": " + detail)
	}
	defer f.close()
	address, err := netip.ParseAddrPort(f.address)
	if err != nil {
		return err
	}
	a := proxy.At(ctx, address, ztunnel)
	defer a.Close()
	if a.Err != nil {
		return errors.New("port " + port + ": " + strings.TrimPrefix(a.Err.Error(), f.address+": "))
	}
	for _, it := range a.Artifacts() {
		r.asked(ctx, p, &it, f.address, port)
	}
	return nil
}

// asked records one thing that a proxy tells. Of a document a part tells
// nothing; of a listing its whole lines do.
func (r *recorder) asked(ctx context.Context, p *pod, it *proxy.Artifact, address, port string) {
	a := bundle.Artifact{Path: path.Join(p.folder(), it.Name), Command: []string{"GET", "localhost:" + port + it.Path}, Started: time.Now().UTC()}
	what := "pods/" + p.id.String() + " " + strings.TrimSuffix(it.Name, path.Ext(it.Name))
	s, err := newSpool(2 << 30)
	if err != nil {
		r.missing(p.node, what, failed, plain(err.Error()))
		return
	}
	defer s.close()
	in, err := it.Open(ctx)
	if err == nil {
		_, err = io.Copy(s, in)
		in.Close()
	}
	a.Took = time.Since(a.Started).Round(time.Microsecond)
	if err != nil {
		r.missing(p.node, what, reason(err), plain(strings.ReplaceAll(err.Error(), address, "port "+port)))
		if s.cut(); it.Whole || s.size == 0 {
			return
		}
		a.Truncated = true
	}
	r.add(a, s.reader())
}

// reason puts an error into the words of the bundle format.
func reason(err error) string {
	switch {
	case errors.Is(err, proxy.ErrTooLarge), errors.Is(err, errFull):
		return tooLarge
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return timedOut
	}
	return failed
}

// accessLog records the rows of a proxy's access log, where it writes one.
func (r *recorder) accessLog(ctx context.Context, p *pod, container string) {
	name := container + "-access-log"
	c := call{args: []string{"logs", "-n", p.id.Namespace, p.id.Name, "-c", container, "--tail=" + logRows}, deadline: slow, limit: 64 * mib}
	a := bundle.Artifact{Path: path.Join(p.folder(), name+".txt"), Command: append([]string{"kubectl"}, c.args...), Started: time.Now().UTC()}
	what := "pods/" + p.id.String() + " " + name
	log, o := r.kubectl.run(ctx, c)
	if log == nil {
		r.missing(p.node, what, failed, plain(o.err.Error()))
		return
	}
	defer log.close()
	if because, detail := o.judge(c); because != "" {
		r.missing(p.node, what, because, detail)
	}
	rows, err := newSpool(64 * mib)
	if err != nil {
		r.missing(p.node, what, failed, plain(err.Error()))
		return
	}
	defer rows.close()
	log.cut()
	_, err = io.Copy(rows, proxy.Rows(ctx, container, log.reader()))
	switch {
	case rows.size > 0:
		a.Exit, a.Truncated, a.Took = o.exit, !o.good(), time.Since(a.Started).Round(time.Microsecond)
		r.add(a, rows.reader())
	case o.good() && errors.Is(err, proxy.ErrNoRows):
		r.missing(p.node, what, notFound, "it writes no access log that is known")
	case err != nil && o.good():
		r.missing(p.node, what, reason(err), plain(err.Error()))
	}
}
