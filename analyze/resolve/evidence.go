package resolve

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"sort"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"whichbackend/analyze/record"
)

// maxQuote bounds a quoted text, in bytes.
const maxQuote = 600

// evidence points to a position; the text is quoted only for what is shown.
func (r *resolver) evidence(pos record.Pos) []Evidence {
	if pos.Section == 0 {
		return nil
	}
	s := r.sections[pos.Section]
	e := Evidence{Artifact: r.artifacts[s.Artifact].Path, Line: pos.Line, Packet: pos.Packet, Pointer: pos.Pointer}
	if e.Pointer != "" && e.Line == 1 {
		e.Line = 0 // the document is the whole artifact
	}
	text, err := r.quote(s, pos)
	r.keep(err)
	e.Text = text
	return []Evidence{e}
}

// evidenceOf points to several entries, in the order of artifacts.
func (r *resolver) evidenceOf(ts []record.Translation) []Evidence {
	sorted := append([]record.Translation{}, ts...)
	sort.SliceStable(sorted, func(i, j int) bool { return r.less(sorted[i].Pos, sorted[j].Pos) })
	out := []Evidence{}
	for _, t := range sorted {
		if t.Via != record.ViaCapture {
			out = append(out, r.evidence(t.Pos)...)
			continue
		}
		if f := r.flowHolding(t.Pos, t.Before); f != nil {
			out = append(out, r.packetEvidence(f, t.Packet)...)
		}
		if f := r.flowHolding(t.Behind, t.After); f != nil {
			out = append(out, r.packetEvidence(f, t.Behind.Packet)...)
		}
	}
	return out
}

// evidenceAt points to several positions.
func (r *resolver) evidenceAt(list []record.Pos) []Evidence {
	var out []Evidence
	for _, pos := range list {
		out = append(out, r.evidence(pos)...)
	}
	return out
}

// quote is the raw text at a position.
func (r *resolver) quote(s *record.Section, pos record.Pos) (string, error) {
	if pos.Pointer != "" {
		return r.quotePointer(s, pos)
	}
	lines, err := r.st.Lines(s.Artifact, pos.Line, 1)
	if err != nil || len(lines) == 0 {
		return "", err
	}
	return clipText(strings.TrimRight(lines[0], " \t")), nil
}

// quotePointer is the element of a document, as one line of JSON.
func (r *resolver) quotePointer(s *record.Section, pos record.Pos) (string, error) {
	if text, ok := r.quoted[pos]; ok {
		return text, nil
	}
	root, err := r.document(s, pos.Line)
	if err != nil {
		return "", err
	}
	v, ok := lookup(root, pos.Pointer)
	if !ok {
		return "", nil
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	text := clipText(string(raw))
	r.quoted[pos] = text
	return text, nil
}

// document decodes the document that begins at a line of an artifact; the last
// one is remembered, since evidence comes in runs.
func (r *resolver) document(s *record.Section, line int) (any, error) {
	if r.doc.artifact == s.Artifact && r.doc.line == line {
		return r.doc.root, nil
	}
	text, err := r.st.Whole(s.Artifact, 1<<30)
	if err != nil {
		return nil, err
	}
	for n := 1; n < line; n++ {
		i := bytes.IndexByte(text, '\n')
		if i < 0 {
			break
		}
		text = text[i+1:]
	}
	var root any
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(&root); err != nil {
		if err := yaml.NewDecoder(bytes.NewReader(text)).Decode(&root); err != nil {
			root = nil
		}
	}
	r.doc.artifact, r.doc.line, r.doc.root = s.Artifact, line, root
	return root, nil
}

// lookup follows a JSON pointer (RFC 6901).
func lookup(v any, pointer string) (any, bool) {
	for _, token := range strings.Split(pointer, "/")[1:] {
		token = strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~")
		switch x := v.(type) {
		case map[string]any:
			e, ok := x[token]
			if !ok {
				return nil, false
			}
			v = e
		case []any:
			i, err := strconv.Atoi(token)
			if err != nil || i < 0 || i >= len(x) {
				return nil, false
			}
			v = x[i]
		default:
			return nil, false
		}
	}
	return v, true
}

// clipText bounds a quote and keeps it valid text.
func clipText(s string) string {
	if len(s) > maxQuote {
		s = s[:maxQuote] + "..."
	}
	return strings.ToValidUTF8(s, "\ufffd")
}

// party names an address as seen from a host.
func (w *world) party(a netip.AddrPort, host string) Party {
	p := Party{Address: a.String()}
	if !a.IsValid() {
		p.Address = ""
		return p
	}
	if o := w.ownerAt(a.Addr(), host); o != nil && !a.Addr().IsLoopback() {
		p.Kind, p.Namespace, p.Name, p.Host, p.workload = o.kind, o.namespace, o.name, o.host, o.workload
		if o.kind == "balancer" {
			p.Host = o.host
		}
	} else if o == nil && len(w.owners[a.Addr()]) == 0 {
		p.Host = w.hostHolding(a.Addr(), host)
		p.Name = w.names[a.Addr()]
	}
	return p
}

// hostHolding is the host of the one namespace that holds an address, though
// nothing tells whose namespace it is; first the host itself is looked through.
func (w *world) hostHolding(a netip.Addr, host string) string {
	list := w.holders(a, host)
	if len(list) == 0 {
		list = w.holders(a, "")
	}
	if len(list) != 1 || a.IsLoopback() {
		return ""
	}
	return list[0].host
}

// partyIn names an address by the namespace in which its own socket was seen.
func (w *world) partyIn(a netip.AddrPort, p *place) Party {
	named := w.party(a, hostOf(p))
	if p == nil {
		return named
	}
	switch p.kind {
	case record.ScopePod, record.ScopeContainer:
		kind := "pod"
		if p.kind == record.ScopeContainer {
			kind = "container"
		}
		if named.Name != p.name {
			named = Party{Address: a.String(), Kind: kind, Namespace: p.namespace, Name: p.name, Host: p.host, workload: w.workloadOf(kind, p.name)}
		}
		if named.Host == "" {
			named.Host = p.host
		}
	case record.ScopeHost:
		if p.host != "" && (named.Name == "" || named.Kind == "node") {
			named.Kind, named.Name, named.Host = "node", p.host, p.host
		}
	default:
		if named.Name == "" {
			named.Host = p.host
		}
	}
	return named
}

func (w *world) workloadOf(kind, name string) string {
	for _, o := range w.named {
		if o.kind == kind && o.name == name {
			return o.workload
		}
	}
	return ""
}

// endpointName is the workload that a service's list of backends names for an
// address.
func (w *world) endpointName(a netip.AddrPort) Party {
	for _, s := range w.services {
		for _, b := range s.Backends {
			if b.Address == a && b.Name != "" && s.Source == record.FromKubernetes {
				return Party{Address: a.String(), Kind: "pod", Namespace: b.Namespace, Name: b.Name, Host: b.Host}
			}
		}
	}
	return Party{}
}

// ownBeginsWith finds the one address of a place whose text begins with a cut
// text.
func ownBeginsWith(p *place, cut string) (netip.Addr, bool) {
	found, n := netip.Addr{}, 0
	for a := range p.addrs {
		if a.Is6() && strings.HasPrefix(a.String(), cut) {
			found, n = a, n+1
		}
	}
	return found, n == 1
}

// beginsWith finds the one known address whose text begins with a cut text.
func (w *world) beginsWith(cut string) (netip.Addr, bool) {
	found := map[netip.Addr]bool{}
	consider := func(a netip.Addr) {
		if a.Is6() && strings.HasPrefix(a.String(), cut) {
			found[a] = true
		}
	}
	for a := range w.owners {
		consider(a)
	}
	for _, p := range w.places {
		for a := range p.addrs {
			consider(a)
		}
	}
	for a := range w.byAddress {
		consider(a.Addr())
	}
	for a := range found {
		return a, len(found) == 1
	}
	return netip.Addr{}, false
}
