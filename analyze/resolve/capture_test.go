package resolve

import "testing"

// TestServerNameService: the name by which Istio's gateways ask each other for
// a service names it; any other name does not.
func TestServerNameService(t *testing.T) {
	for name, want := range map[string]Party{
		"outbound_.8000_._.httpbin.default.svc.cluster.local": {Kind: "service", Namespace: "default", Name: "httpbin"},
		"outbound_.80_.v1_.reviews.shop.svc.cluster.local":    {Kind: "service", Namespace: "shop", Name: "reviews"},
		"outbound_.80_._.example.com":                         {},
		"inbound_.80_._.httpbin.default.svc.cluster.local":    {},
		"httpbin.default.svc.cluster.local":                   {},
		"outbound_.80":                                        {},
		"":                                                    {},
	} {
		if got, ok := serverNameService(name); got != want || ok != (want.Name != "") {
			t.Errorf("%q: %+v", name, got)
		}
	}
}
