package expect

import (
	"testing"

	"whichbackend/analyze/resolve"
)

func connection(v resolve.Verdict, mechanism string, backends ...string) *resolve.Connection {
	c := &resolve.Connection{Verdict: v, Client: resolve.Party{Address: "10.0.0.1:1000"}, Service: resolve.Party{Address: "10.0.0.2:80"}, Mechanisms: []string{mechanism}}
	for _, b := range backends {
		c.Backends = append(c.Backends, resolve.Backend{Party: resolve.Party{Address: b, Kind: "pod", Namespace: "default", Name: "pod-" + b[len(b)-4:len(b)-3]}})
	}
	return c
}

// TestJudge holds one connection to one expectation.
func TestJudge(t *testing.T) {
	one, two := "10.0.0.3:80", "10.0.0.4:80"
	for _, c := range []struct {
		name string
		q    Question
		c    *resolve.Connection
		ok   bool
	}{
		{"stronger will do", Question{Verdict: resolve.Observed}, connection(resolve.Proven, "ipvs", one), true},
		{"as strong will do", Question{Verdict: resolve.Observed}, connection(resolve.Observed, "ipvs", one), true},
		{"weaker will not", Question{Verdict: resolve.Observed}, connection(resolve.Deduced, "ipvs", one), false},
		{"deduced is the weakest", Question{Verdict: resolve.Deduced}, connection(resolve.Candidates, "ipvs", one, two), false},
		{"unknown must be met", Question{Verdict: resolve.Unknown}, connection(resolve.Proven, "ipvs", one), false},
		{"candidates must be met", Question{Verdict: resolve.Candidates}, connection(resolve.Observed, "ipvs", one), false},
		{"candidates are met", Question{Verdict: resolve.Candidates}, connection(resolve.Candidates, "ipvs", one, two), true},
		{"none is not unknown", Question{Verdict: resolve.None}, connection(resolve.Unknown, ""), false},
		{"conflict is not candidates", Question{Verdict: resolve.Conflicted}, connection(resolve.Candidates, "ipvs", one, two), false},
		{"a backend by address", Question{Backend: Names{one}}, connection(resolve.Deduced, "ipvs", one), true},
		{"a backend by name", Question{Backend: Names{"default/pod-3"}}, connection(resolve.Deduced, "ipvs", one), true},
		{"another backend", Question{Backend: Names{two}}, connection(resolve.Proven, "ipvs", one), false},
		{"one backend is one", Question{Backend: Names{one}}, connection(resolve.Candidates, "ipvs", one, two), false},
		{"no backend", Question{Backend: Names{one}}, connection(resolve.Unknown, ""), false},
		{"all candidates", Question{Backend: Names{one, two}}, connection(resolve.Candidates, "ipvs", one, two), true},
		{"a candidate more", Question{Backend: Names{two, "10.0.0.5:80"}}, connection(resolve.Candidates, "ipvs", one, two), false},
		{"mechanism", Question{Mechanism: "ipvs"}, connection(resolve.Proven, "ipvs", one), true},
		{"another mechanism", Question{Mechanism: "cilium"}, connection(resolve.Proven, "ipvs", one), false},
	} {
		why := append(judge(c.q, c.c), missing(c.q, []resolve.Connection{*c.c})...)
		if (len(why) == 0) != c.ok {
			t.Errorf("%s: %q", c.name, why)
		}
	}
}

// TestMissing: every expected backend must be named by some connection.
func TestMissing(t *testing.T) {
	list := []resolve.Connection{*connection(resolve.Proven, "ipvs", "10.0.0.3:80"), *connection(resolve.Proven, "ipvs", "10.0.0.4:80")}
	q := Question{Backend: Names{"10.0.0.3:80", "10.0.0.4:80"}}
	if why := missing(q, list); len(why) > 0 {
		t.Error(why)
	}
	if why := missing(q, list[:1]); len(why) != 1 {
		t.Error(why)
	}
}
