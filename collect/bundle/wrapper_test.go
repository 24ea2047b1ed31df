package bundle

import (
	"strings"
	"testing"
)

func TestWrapper(t *testing.T) {
	for _, c := range []struct{ files, want string }{
		{"", ""},
		{"conntrack.txt", ""},
		{"node1/conntrack.txt", ""},
		{"node1/pods/default/client/netstat.txt", ""},
		{"node1/containers/c/ss.txt", ""},
		{"node1/netns/n/ss.txt node1/pcap/x.pcap", ""},
		{"node1/conntrack.txt node2/conntrack.txt", ""},
		{"case/node1/conntrack.txt", "case"},
		{"case/node1/conntrack.txt case/node2/conntrack.txt", "case"},
		{"case/node1/pods/a/b/c README.md", "case"},
		{"case/node1/pods/a/b/c case/README expect.yaml case/truth.tsv case/expect.yaml", "case"},
		{"case/README", ""},
		{"case/node1/x other.txt", ""},
		{"case/node1/x case/conntrack.txt", ""},
		{"case/manifest.yaml case/node1/x", "case"},
		{"case/manifest.yaml case/node1/pcap/x", "case"},
		{"case/manifest.yaml case/conntrack.txt", "case"},
		{"case/manifest.yaml", "case"},
		{"manifest.yaml node1/pcap/x", ""},
		{"a/manifest.yaml b/manifest.yaml a/n/x", ""},
		{"cluster/pods.yaml", ""},
		{"cluster/objects/pods.yaml", ""},
		{"case/cluster/pods.yaml", "case"},
		{"case/cluster/pods.yaml case/conntrack.txt case/node1/x", "case"},
		{"pods/default/client/netstat.txt", ""},
		{"case/pods/default/client/netstat.txt", ""},
		{"w/case/node1/x w/case/node2/x", "w/case"},
		{"w/case/manifest.yaml w/case/node1/proc/net/tcp", "w/case"},
		{"w/v/case/cluster/x w/README.md", "w/v/case"},
		{"podsx/n/a podsx/m/b", "podsx"},
		{"node1/pcap/eth0.pcap", ""},
	} {
		var files, manifests []string
		for _, f := range strings.Fields(c.files) {
			if strings.HasSuffix(f, "manifest.yaml") {
				manifests = append(manifests, f)
			} else {
				files = append(files, f)
			}
		}
		if got := wrapper(files, manifests); got != c.want {
			t.Errorf("%s: %q, want %q", c.files, got, c.want)
		}
	}
	if got := wrapper([]string{"node1/manifest.yaml"}, nil); got != "" {
		t.Errorf("a foreign manifest.yaml made %q a wrapper", got)
	}
}
